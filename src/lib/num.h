/*
 * num.h
 *		Short names for exact arithmetic on numeric.
 *
 * Every amount, quantity and rate is a numeric at the boundary; nothing here
 * or anywhere in the engine is a float.  Results are palloc'd in the current
 * memory context.  Overflow raises numeric_value_out_of_range.  Only
 * fmgr-callable entry points are used: they are the same on all supported
 * servers, where the *_opt_error family is not.
 */
#ifndef BILLING_NUM_H
#define BILLING_NUM_H

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#define NUM_CALL1(f, a) \
	DatumGetNumeric(DirectFunctionCall1(f, NumericGetDatum(a)))
#define NUM_CALL2(f, a, b) \
	DatumGetNumeric(DirectFunctionCall2(f, NumericGetDatum(a), NumericGetDatum(b)))

#define num_add(a, b) NUM_CALL2(numeric_add, a, b)
#define num_sub(a, b) NUM_CALL2(numeric_sub, a, b)
#define num_mul(a, b) NUM_CALL2(numeric_mul, a, b)
#define num_neg(a) NUM_CALL1(numeric_uminus, a)
#define num_abs(a) NUM_CALL1(numeric_abs, a)
#define num_ceil(a) NUM_CALL1(numeric_ceil, a)

/* Quotient truncated towards zero: exact, unlike numeric_div. */
#define num_div_trunc(a, b) NUM_CALL2(numeric_div_trunc, a, b)

#define num_from_int(i) int64_to_numeric(i)

/* <0, 0, >0 */
#define num_cmp(a, b) \
	DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)))

/* -1, 0, 1 */
static inline int
num_sign(Numeric a)
{
	return num_cmp(a, num_from_int(0));
}

#define num_is_finite(a) (!numeric_is_nan(a) && !numeric_is_inf(a))

/* Rounded half away from zero to scale digits after the point. */
static inline Numeric
num_round(Numeric a, int scale)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_round, NumericGetDatum(a), Int32GetDatum(scale)));
}

/* Decimal text; palloc'd. */
static inline char *
num_out(Numeric a)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(a)));
}

/* From decimal text; raises 22P02 on anything else. */
static inline Numeric
num_in(const char *text)
{
	return DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(text),
											   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

#endif							/* BILLING_NUM_H */
