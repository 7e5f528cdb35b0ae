/*
 * keyed_rows.h
 *		Rows of the timeline's tables, for a batch of accounts.
 *
 * Each table is read by one statement over the batch's ranges of accounts.
 * It exists in two forms: of the books as they are, and of the books as they
 * would be after edits that nobody made yet (previews of a change).
 */
#ifndef BILLING_KEYED_ROWS_H
#define BILLING_KEYED_ROWS_H

#include "catalog/pg_type.h"

#include "lib/spi.h"
#include "run/account_batch.h"

typedef struct BatchQuery
{
	SpiQuery	plain;
	SpiQuery	edited;
} BatchQuery;

/*
 * The rows x of a table that belong to the batch once the edits are made, which
 * are $4: an object of arrays of whole rows, by table.  A row of the edits
 * stands instead of that with the same key.
 */
#define OF_EDITED_BATCH(table, key) \
	" FROM unnest($1, $2) r (low, high), LATERAL (SELECT * FROM billing." table " t" \
	" WHERE t.account_id BETWEEN r.low AND r.high AND (" key ") NOT IN" \
	" (SELECT " key " FROM jsonb_populate_recordset(NULL::billing." table ", $4->'" table "') e)" \
	" UNION ALL SELECT * FROM jsonb_populate_recordset(NULL::billing." table ", $4->'" table "') e" \
	" WHERE e.account_id BETWEEN r.low AND r.high) x"

/*
 * A BatchQuery: columns of the rows x of a table with that primary key.  The
 * condition on t only saves reading what is not needed; it may use $3, an
 * instant.
 */
#define BATCH_QUERY(columns, table, key, condition) \
	{ \
		.plain = { \
			.text = "SELECT " columns OF_BATCH(table, condition), \
			.nargs = 3, .argtypes = {INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID} \
		}, \
		.edited = { \
			.text = "SELECT " columns OF_EDITED_BATCH(table, key), \
			.nargs = 4, .argtypes = {INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID, JSONBOID} \
		} \
	}

/* Rows of a statement, in the order of their keys; each begins with its key, an int64. */
typedef struct KeyedRows
{
	void	   *rows;
	int			count;
	size_t		size;			/* of a row */
} KeyedRows;

extern KeyedRows rows_of_batch(BatchQuery *query, const AccountBatch *batch, bool read_only,
							   TimestampTz from, size_t size);
extern int	compare_keys(const void *a, const void *b);
extern void sort_rows(KeyedRows *rows, int (*compare) (const void *, const void *));
extern void *find_rows(const KeyedRows *rows, int64 key, int *count);

#endif							/* BILLING_KEYED_ROWS_H */
