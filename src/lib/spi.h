/*
 * spi.h
 *		Saved plans, and batches of rows as named tuplestores.
 */
#ifndef BILLING_SPI_H
#define BILLING_SPI_H

#include "executor/spi.h"
#include "utils/tuplestore.h"

/*
 * One statement of the engine: text and argument types are constant, the plan
 * is prepared at the first use in a session and kept.  Declare it static.
 */
typedef struct SpiQuery
{
	const char *text;
	int			nargs;
	Oid			argtypes[12];
	SPIPlanPtr	plan;
} SpiQuery;

extern uint64 query_run(SpiQuery *query, Datum *values, const char *nulls, bool read_only);
extern uint64 query_run_locked(SpiQuery *query);
extern uint64 query_run1(SpiQuery *query, bool read_only, Datum value);
extern Portal query_cursor(SpiQuery *query, Datum value);
extern Datum query_datum(int row, int column, bool *isnull);
extern Datum query_value(int row, int column);
extern int64 query_int64(int row, int column, int64 when_null);
extern char *query_text(int row, int column);
extern Datum array_of_int64(const int64 *values, int count);

/* A column that the engine writes; sealed ones belong to a document's canonical form. */
typedef struct Column
{
	const char *name;
	int			name_length;
	Oid			type;
	bool		sealed;
} Column;


/* Rows made in C that one INSERT ... SELECT reads as if they were a table. */
typedef struct Rows
{
	const char *table;			/* target, below schema billing */
	const Column *columns;
	int			ncolumns;
	TupleDesc	desc;
	Tuplestorestate *store;
	uint64		count;
} Rows;

extern void rows_open(Rows *rows, const char *table, const Column *columns, int ncolumns);
extern void rows_put(Rows *rows, Datum *values, bool *nulls);
extern void rows_publish(Rows *rows);
extern void rows_unpublish(Rows *rows);
extern void rows_insert(Rows *rows);
extern void rows_close(Rows *rows);
extern Oid	books_relation(const char *name);

#endif							/* BILLING_SPI_H */
