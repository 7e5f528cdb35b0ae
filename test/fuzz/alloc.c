/*
 * alloc.c
 *		Memory of the extension's pure C while it is fuzzed: malloc's, freed after
 *		each input as a memory context would be.
 */
#include "alloc.h"

#undef palloc
#undef palloc0
#undef repalloc
#undef pfree

static void **pointers;
static int	count;
static int	capacity;

/* Index of what fuzz_alloc gave out; -1: the server's. */
static int
find(const void *pointer)
{
	for (int i = count - 1; i >= 0; i--)
		if (pointers[i] == pointer)
			return i;
	return -1;
}

void *
fuzz_alloc(Size size)
{
	if (size > MaxAllocSize)
		elog(ERROR, "invalid memory alloc request size %zu", size);
	if (count == capacity)
	{
		capacity = Max(64, 2 * capacity);
		pointers = realloc(pointers, capacity * sizeof(void *));
	}
	return pointers[count++] = malloc(Max(size, 1));
}

void *
fuzz_alloc_zero(Size size)
{
	return memset(fuzz_alloc(size), 0, size);
}

void *
fuzz_realloc(void *pointer, Size size)
{
	int			i = find(pointer);

	if (i < 0)
		return repalloc(pointer, size);
	if (size > MaxAllocSize)
		elog(ERROR, "invalid memory alloc request size %zu", size);
	return pointers[i] = realloc(pointer, Max(size, 1));
}

void
fuzz_free(void *pointer)
{
	int			i = find(pointer);

	if (i < 0)
	{
		pfree(pointer);
		return;
	}
	free(pointer);
	pointers[i] = pointers[--count];
}

void
fuzz_free_all(void)
{
	while (count > 0)
		free(pointers[--count]);
}
