/*
 * amount.h
 *		Money: int64 minor units inside the engine, numeric at every boundary.
 *
 * Pure: no table, no SPI.  Everything is exact, rounds at most once, half away
 * from zero, and raises numeric_value_out_of_range (22003) on overflow, NaN
 * and infinity.  The rules are in README.md.
 */
#ifndef BILLING_AMOUNT_H
#define BILLING_AMOUNT_H

#include "utils/numeric.h"

/* ISO 4217 knows 0 to 4. */
#define MAX_MINOR_UNITS 4

extern int64 amount_round(Numeric exact, int minor_units);
extern Numeric amount_numeric(int64 minor, int minor_units);
extern int64 amount_add(int64 a, int64 b);
extern int64 amount_sub(int64 a, int64 b);
extern int64 amount_prorate(Numeric level, int64 length, int64 full, int minor_units);
extern int64 amount_percent(int64 amount, Numeric rate);
extern int64 amount_without_tax(int64 gross, Numeric rate);
extern void amount_split(int64 total, const int64 *weights, int count, int64 *parts);

#endif							/* BILLING_AMOUNT_H */
