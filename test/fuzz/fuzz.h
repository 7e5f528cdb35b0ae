/*
 * fuzz.h
 *		What fuzz targets share.
 *
 * A target runs inside a single-user server, whose numeric and jsonb are the
 * real ones, on the extension's pure C, compiled anew with the fuzzer's and the
 * sanitizers' instruments.
 */
#ifndef BILLING_FUZZ_H
#define BILLING_FUZZ_H

#include "postgres.h"

#include "utils/numeric.h"

typedef Numeric (*FuzzComputation) (void *argument);

extern Numeric fuzz_attempt(FuzzComputation compute, void *argument, int *sqlstate);
extern void fuzz_claim(bool holds, const char *claim);
extern bool fuzz_is_among(int sqlstate, const int *expected, int count);

/* one function a target, and the reference that it may compare with */
extern Oid	fuzz_reference;
extern int	fuzz_scheme(const uint8_t *data, size_t size);
extern int	fuzz_timeline(const uint8_t *data, size_t size);

#endif							/* BILLING_FUZZ_H */
