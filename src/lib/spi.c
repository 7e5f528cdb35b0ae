/*
 * spi.c
 *		Saved plans, and batches of rows as named tuplestores.
 *
 * The books are read and written through SPI only, so that they may be
 * distributed, partitioned or given triggers like any table.  Bulk writes hand
 * the rows of a batch to one INSERT ... SELECT as a named tuplestore: one pass
 * per row, where unnest() of n arrays materialises n of them.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "lib/spi.h"

/*
 * Prepares the statement at its first use in the session, with one plan for
 * all values.  Every statement is made for index look-ups; planned for the
 * thousand accounts of a batch, a join may read whole tables, batch by batch.
 */
static void
query_prepare(SpiQuery *query)
{
	SPIPlanPtr	plan;

	if (query->plan != NULL)
		return;
	plan = SPI_prepare_cursor(query->text, query->nargs, query->argtypes, CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", query->text, SPI_result_code_string(SPI_result));
	query->plan = plan;
}

/* A read-only cursor over a statement of one argument that is not null. */
Portal
query_cursor(SpiQuery *query, Datum value)
{
	query_prepare(query);
	return SPI_cursor_open(NULL, query->plan, &value, NULL, true);
}

/*
 * Runs a statement with its saved plan; rows stay in SPI_tuptable.  Returns
 * how many were processed.  The caller is connected to SPI, and stays in its
 * memory context: SPI would leave it in that of the innermost connection.
 */
uint64
query_run(SpiQuery *query, Datum *values, const char *nulls, bool read_only)
{
	MemoryContext context = CurrentMemoryContext;
	int			rc;

	query_prepare(query);
	rc = SPI_execute_plan(query->plan, values, nulls, read_only, 0);
	MemoryContextSwitchTo(context);
	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", query->text, SPI_result_code_string(rc));
	return SPI_processed;
}

/*
 * Reads without arguments what a lock guards, as it is committed once the lock
 * is held: also in a transaction that has one snapshot for all, which may be
 * older than the lock.
 */
uint64
query_run_locked(SpiQuery *query)
{
	MemoryContext context = CurrentMemoryContext;
	int			rc;

	query_prepare(query);
	rc = SPI_execute_snapshot(query->plan, NULL, NULL, GetLatestSnapshot(), InvalidSnapshot, true, false, 0);
	MemoryContextSwitchTo(context);
	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", query->text, SPI_result_code_string(rc));
	return SPI_processed;
}

/* A statement of one argument that is not null. */
uint64
query_run1(SpiQuery *query, bool read_only, Datum value)
{
	return query_run(query, &value, NULL, read_only);
}

/* Column (from 1) of a row (from 0) of the last result; not copied. */
Datum
query_datum(int row, int column, bool *isnull)
{
	return heap_getattr(SPI_tuptable->vals[row], column, SPI_tuptable->tupdesc, isnull);
}

/* The same for a column that cannot be null. */
Datum
query_value(int row, int column)
{
	bool		isnull;
	Datum		value = query_datum(row, column, &isnull);

	if (isnull)
		elog(ERROR, "unexpected null in column \"%s\"", SPI_fname(SPI_tuptable->tupdesc, column));
	return value;
}

/* A bigint or timestamptz column, or when_null. */
int64
query_int64(int row, int column, int64 when_null)
{
	bool		isnull;
	Datum		value = query_datum(row, column, &isnull);

	return isnull ? when_null : DatumGetInt64(value);
}

/* A text column, palloc'd in the current context, or NULL. */
char *
query_text(int row, int column)
{
	bool		isnull;
	Datum		value = query_datum(row, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* bigint[] of the values. */
Datum
array_of_int64(const int64 *values, int count)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(count, 1));

	for (int i = 0; i < count; i++)
		elements[i] = Int64GetDatum(values[i]);
	return PointerGetDatum(construct_array(elements, count, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* OID of a table of the books, or InvalidOid. */
Oid
books_relation(const char *name)
{
	Oid			schema = get_namespace_oid("billing", true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

/*
 * Opens a batch for the columns of a table.  Rows and descriptor live in the
 * current context until rows_close.
 */
void
rows_open(Rows *rows, const char *table, const Column *columns, int ncolumns)
{
	rows->table = table;
	rows->columns = columns;
	rows->ncolumns = ncolumns;
	rows->desc = CreateTemplateTupleDesc(ncolumns);
	for (int i = 0; i < ncolumns; i++)
		TupleDescInitEntry(rows->desc, (AttrNumber) (i + 1), columns[i].name, columns[i].type, -1, 0);
	rows->store = tuplestore_begin_heap(false, false, work_mem);
	rows->count = 0;
}

/* Adds one row; values are copied. */
void
rows_put(Rows *rows, Datum *values, bool *nulls)
{
	tuplestore_putvalues(rows->store, rows->desc, values, nulls);
	rows->count++;
}

/* Makes the batch visible as new_<table> to the statements that follow. */
void
rows_publish(Rows *rows)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));
	int			rc;

	enr->md.name = psprintf("new_%s", rows->table);
	enr->md.reliddesc = InvalidOid;
	enr->md.tupdesc = rows->desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = rows->count;
	enr->reldata = rows->store;
	rc = SPI_register_relation(enr);
	if (rc != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register rows of \"%s\": %s", rows->table, SPI_result_code_string(rc));
}

/* Hides it again. */
void
rows_unpublish(Rows *rows)
{
	SPI_unregister_relation(psprintf("new_%s", rows->table));
}

/* The saved INSERT of a table, made at its first use in the session. */
static SPIPlanPtr
insert_plan(const Rows *rows)
{
	static struct
	{
		const Column *columns;
		SPIPlanPtr	plan;
	}			plans[16];
	StringInfoData names;
	int			slot = 0;
	SPIPlanPtr	plan;

	while (slot < (int) lengthof(plans) && plans[slot].columns != NULL && plans[slot].columns != rows->columns)
		slot++;
	if (slot == (int) lengthof(plans))
		elog(ERROR, "too many tables are written in bulk");
	if (plans[slot].plan != NULL)
		return plans[slot].plan;
	initStringInfo(&names);
	for (int i = 0; i < rows->ncolumns; i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", rows->columns[i].name);
	plan = SPI_prepare(psprintf("INSERT INTO billing.%s (%s) SELECT %s FROM new_%s", rows->table, names.data,
								names.data, rows->table), 0, NULL);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare the insert into \"%s\": %s", rows->table,
			 SPI_result_code_string(SPI_result));
	plans[slot].columns = rows->columns;
	plans[slot].plan = plan;
	return plan;
}

/* Writes the batch with one statement and forgets it. */
void
rows_insert(Rows *rows)
{
	if (rows->count > 0)
	{
		MemoryContext context = CurrentMemoryContext;
		int			rc;

		rows_publish(rows);
		rc = SPI_execute_plan(insert_plan(rows), NULL, NULL, false, 0);
		MemoryContextSwitchTo(context);
		if (rc != SPI_OK_INSERT)
			elog(ERROR, "could not insert into \"%s\": %s", rows->table, SPI_result_code_string(rc));
		rows_unpublish(rows);
	}
	rows_close(rows);
}

/* Forgets the batch. */
void
rows_close(Rows *rows)
{
	tuplestore_end(rows->store);
	rows->store = NULL;
}
