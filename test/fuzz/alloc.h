/*
 * alloc.h
 *		Included before everything else in the extension's files (-include): memory
 *		that they ask for comes from malloc, one by one.
 *
 * The server takes its memory in blocks, inside which a sanitizer sees nothing.
 */
#ifndef BILLING_FUZZ_ALLOC_H
#define BILLING_FUZZ_ALLOC_H

#include "postgres.h"

#include "utils/memutils.h"

extern void *fuzz_alloc(Size size);
extern void *fuzz_alloc_zero(Size size);
extern void *fuzz_realloc(void *pointer, Size size);
extern void fuzz_free(void *pointer);
extern void fuzz_free_all(void);

#define palloc(size) fuzz_alloc(size)
#define palloc0(size) fuzz_alloc_zero(size)
#define repalloc(pointer, size) fuzz_realloc(pointer, size)
#define pfree(pointer) fuzz_free(pointer)

#endif							/* BILLING_FUZZ_ALLOC_H */
