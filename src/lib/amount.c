/*
 * amount.c
 *		Money: rounding, proration, percentages, splitting.
 *
 * Minor units in int64 keep sums and comparisons of a run free of numeric's
 * cost; where a factor is not whole (a level, a rate) the product is computed
 * in numeric, which is exact, and leaves it by one rounding.  A quotient is
 * never formed before it is rounded: numeric division is inexact, so
 * 2 * dividend / divisor is truncated instead.
 */
#include "postgres.h"

#include "common/int.h"

#include "lib/amount.h"
#include "lib/num.h"

static const int64 power_of_ten[MAX_MINOR_UNITS + 1] = {1, 10, 100, 1000, 10000};

/* Raises numeric_value_out_of_range. */
static void
amount_out_of_range(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("amount out of range"),
			 errdetail("Amounts are finite and have at most 18 digits, minor units included.")));
}

/* Whole number from a count of minor units with fraction, half away from zero. */
static int64
round_to_int64(Numeric minor)
{
	if (!num_is_finite(minor) ||
		num_cmp(num_abs(minor), num_from_int(INT64CONST(999999999999999999))) > 0)
		amount_out_of_range();
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(minor)));
}

/* Rounded half away from zero; divisor > 0. */
static int64
round_quotient(Numeric dividend, Numeric divisor)
{
	Numeric		twice;
	Numeric		rounded;

	if (!num_is_finite(dividend) || !num_is_finite(divisor))
		amount_out_of_range();
	/* trunc((2|a| + b) / 2b) is |a| / b rounded half up */
	twice = num_add(num_abs(dividend), num_abs(dividend));
	rounded = num_div_trunc(num_add(twice, divisor), num_add(divisor, divisor));
	return round_to_int64(num_sign(dividend) < 0 ? num_neg(rounded) : rounded);
}

/* doc/rules.md 1: the one rounding of an exact amount to minor units. */
int64
amount_round(Numeric exact, int minor_units)
{
	Assert(minor_units >= 0 && minor_units <= MAX_MINOR_UNITS);
	if (minor_units > 0)
		exact = num_mul(exact, num_from_int(power_of_ten[minor_units]));
	return round_to_int64(exact);
}

/* The amount with exactly minor_units decimals; palloc'd. */
Numeric
amount_numeric(int64 minor, int minor_units)
{
	Assert(minor_units >= 0 && minor_units <= MAX_MINOR_UNITS);
	if (minor_units == 0)
		return num_from_int(minor);
	return int64_div_fast_to_numeric(minor, minor_units);
}

int64
amount_add(int64 a, int64 b)
{
	int64		sum;

	if (pg_add_s64_overflow(a, b, &sum))
		amount_out_of_range();
	return sum;
}

int64
amount_sub(int64 a, int64 b)
{
	int64		difference;

	if (pg_sub_s64_overflow(a, b, &difference))
		amount_out_of_range();
	return difference;
}

/*
 * doc/rules.md 4, P2: round(level * length / full), once.  level is in major units,
 * length and full are in the same unit, full > 0.
 */
int64
amount_prorate(Numeric level, int64 length, int64 full, int minor_units)
{
	Numeric		dividend;

	if (full <= 0)
		elog(ERROR, "full length of a period must be positive");
	if (length == full)
		return amount_round(level, minor_units);
	dividend = num_mul(num_mul(level, num_from_int(length)),
					   num_from_int(power_of_ten[minor_units]));
	return round_quotient(dividend, num_from_int(full));
}

/* round(amount * rate / 100); rate in percent.  doc/rules.md 6: the tax on a net sum. */
int64
amount_percent(int64 amount, Numeric rate)
{
	return round_to_int64(num_mul(int64_div_fast_to_numeric(amount, 2), rate));
}

/* round(gross / (1 + rate / 100)); rate in percent, above -100.  Net of gross: doc/rules.md 6. */
int64
amount_without_tax(int64 gross, Numeric rate)
{
	Numeric		divisor = num_add(num_from_int(100), rate);

	if (num_sign(divisor) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("tax rate %s is out of range", num_out(rate)),
				 errdetail("A rate included in a price is above -100 percent.")));
	return round_quotient(num_mul(num_from_int(gross), num_from_int(100)), divisor);
}

/*
 * floor(total * weight / sum) and what is left, in units of 1 / sum;
 * total and weight >= 0, sum > 0.  Bit by bit, since not every platform has
 * integers of 128 bits.
 */
static int64
multiply_divide(uint64 total, uint64 weight, uint64 sum, uint64 *left)
{
	uint64		whole = weight / sum;
	uint64		rest = weight % sum;
	uint64		quotient = 0;
	uint64		remainder = 0;

	for (int bit = 62; bit >= 0; bit--)
	{
		if (quotient > PG_INT64_MAX / 2)
			amount_out_of_range();
		quotient <<= 1;
		remainder <<= 1;
		if (remainder >= sum)
		{
			remainder -= sum;
			quotient++;
		}
		if ((total >> bit) & 1)
		{
			quotient += whole;
			remainder += rest;
			if (remainder >= sum)
			{
				remainder -= sum;
				quotient++;
			}
			if (quotient > PG_INT64_MAX)
				amount_out_of_range();
		}
	}
	*left = remainder;
	return (int64) quotient;
}

/* A part before the rest is given out: what its floor left, in units of 1 / sum. */
typedef struct Share
{
	uint64		remainder;
	int			index;
} Share;

/* Largest remainder first, of equals the earlier. */
static int
share_compare(const void *a, const void *b)
{
	const Share *x = a;
	const Share *y = b;

	if (x->remainder != y->remainder)
		return x->remainder > y->remainder ? -1 : 1;
	return x->index - y->index;
}

/* floor(total * weight / sum) and its remainder; total >= 0, sum > 0, weight of either sign. */
static int64
share_floor(int64 total, int64 weight, int64 sum, uint64 *remainder)
{
	int64		part;

	if (weight == PG_INT64_MIN)
		amount_out_of_range();
	part = multiply_divide(total, weight < 0 ? -weight : weight, sum, remainder);
	if (weight > 0)
		return part;
	if (*remainder == 0)
		return -part;
	*remainder = sum - *remainder;
	return -part - 1;
}

/*
 * Splits total in proportion to weights by largest remainder, ties to the
 * earlier; the parts sum to total exactly, and those of -total are their
 * negatives.  Weights may have both signs (charges and corrections of one
 * document).  Where they sum to zero there is no proportion: the first part
 * takes all.  count > 0; parts is the caller's and not weights.
 */
void
amount_split(int64 total, const int64 *weights, int count, int64 *parts)
{
	int64		magnitude = total < 0 ? amount_sub(0, total) : total;
	int64		rest = magnitude;
	int64		sum = 0;
	Share	   *shares;

	Assert(count > 0);
	for (int i = 0; i < count; i++)
		sum = amount_add(sum, weights[i]);
	if (sum == 0)
	{
		memset(parts, 0, sizeof(int64) * count);
		parts[0] = total;
		return;
	}
	shares = palloc(sizeof(Share) * count);
	for (int i = 0; i < count; i++)
	{
		shares[i].index = i;
		parts[i] = share_floor(magnitude, sum < 0 ? amount_sub(0, weights[i]) : weights[i],
							   sum < 0 ? amount_sub(0, sum) : sum, &shares[i].remainder);
		rest = amount_sub(rest, parts[i]);
	}
	qsort(shares, count, sizeof(Share), share_compare);
	for (int i = 0; i < rest; i++)
		parts[shares[i].index]++;
	for (int i = 0; total < 0 && i < count; i++)
		parts[i] = -parts[i];
	pfree(shares);
}
