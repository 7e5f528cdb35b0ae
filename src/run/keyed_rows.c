/*
 * keyed_rows.c
 *		Rows of the timeline's tables, for a batch of accounts.
 */
#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "run/keyed_rows.h"

/*
 * Runs a statement over the batch's accounts, with the batch's edits where it
 * has some.  The rows are zeroed and still to be filled from SPI_tuptable.
 */
KeyedRows
rows_of_batch(BatchQuery *query, const AccountBatch *batch, bool read_only, TimestampTz from,
			  size_t size)
{
	Datum		values[4] = {batch->ranges.lows, batch->ranges.highs, TimestampTzGetDatum(from)};
	KeyedRows	rows = {.size = size};

	if (batch->overlay != NULL)
		values[3] = JsonbPGetDatum(batch->overlay);
	rows.count = (int) query_run(batch->overlay ? &query->edited : &query->plain, values, NULL,
								 read_only);
	rows.rows = palloc0(size * Max(rows.count, 1));
	return rows;
}

/* The order of two rows' keys, for sort_rows(). */
int
compare_keys(const void *a, const void *b)
{
	int64		x = *(const int64 *) a;
	int64		y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

/* Sorts rows by their keys, and by what compare, if not NULL, says of those of equal keys. */
void
sort_rows(KeyedRows *rows, int (*compare) (const void *, const void *))
{
	qsort(rows->rows, rows->count, rows->size, compare ? compare : compare_keys);
}

/* The first of the sorted rows with a key, and how many there are; NULL: none. */
void *
find_rows(const KeyedRows *rows, int64 key, int *count)
{
	char	   *first = rows->rows;
	char	   *end = first + rows->count * rows->size;
	char	   *row = bsearch(&key, first, rows->count, rows->size, compare_keys);
	char	   *after = row;

	*count = 0;
	if (row == NULL)
		return NULL;
	while (row > first && *(int64 *) (row - rows->size) == key)
		row -= rows->size;
	while (after < end && *(int64 *) after == key)
		after += rows->size;
	*count = (int) ((after - row) / rows->size);
	return row;
}
