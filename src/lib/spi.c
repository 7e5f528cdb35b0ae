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

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "lib/spi.h"

/*
 * Runs a statement with its saved plan; rows stay in SPI_tuptable.  Returns
 * how many were processed.  The caller is connected to SPI.
 */
uint64
query_run(SpiQuery *query, Datum *values, const char *nulls, bool read_only)
{
	int			rc;

	if (query->plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(query->text, query->nargs, query->argtypes);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare \"%s\": %s", query->text, SPI_result_code_string(SPI_result));
		query->plan = plan;
	}
	rc = SPI_execute_plan(query->plan, values, nulls, read_only, 0);
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
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
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
 * Opens a batch with the columns of a table.  Rows, descriptor and store live
 * in the current context and in SPI's query environment until rows_close.
 */
void
rows_open(Rows *rows, const char *name, Oid like_relation)
{
	Relation	rel = table_open(like_relation, AccessShareLock);

	rows->name = name;
	rows->desc = CreateTupleDescCopy(RelationGetDescr(rel));
	rows->store = tuplestore_begin_heap(false, false, work_mem);
	rows->count = 0;
	table_close(rel, NoLock);
}

/* Adds one row; values are copied. */
void
rows_put(Rows *rows, const Datum *values, const bool *nulls)
{
	tuplestore_putvalues(rows->store, rows->desc, (Datum *) values, (bool *) nulls);
	rows->count++;
}

/* Makes the batch visible under its name to the statements that follow. */
void
rows_publish(Rows *rows)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));
	int			rc;

	enr->md.name = pstrdup(rows->name);
	enr->md.reliddesc = InvalidOid;
	enr->md.tupdesc = rows->desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = rows->count;
	enr->reldata = rows->store;
	rc = SPI_register_relation(enr);
	if (rc != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register rows \"%s\": %s", rows->name, SPI_result_code_string(rc));
}

/* Forgets the batch. */
void
rows_close(Rows *rows)
{
	SPI_unregister_relation(rows->name);
	tuplestore_end(rows->store);
	rows->store = NULL;
}
