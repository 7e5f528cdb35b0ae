/*
 * search.h
 *		Rows in the order of an int64 key, searched by halves.
 */
#ifndef BILLING_SEARCH_H
#define BILLING_SEARCH_H

/* The first row whose key, at an offset in it, is not below the given one; count where none is. */
static inline int
first_of_key(const void *rows, int count, size_t size, size_t offset, int64 key)
{
	int			low = 0;
	int			high = count;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (*(const int64 *) ((const char *) rows + middle * size + offset) < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

#define FIRST_OF_KEY(type, member, rows, count, key) \
	first_of_key(rows, count, sizeof(type), offsetof(type, member), key)

#endif							/* BILLING_SEARCH_H */
