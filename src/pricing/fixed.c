/*
 * fixed.c
 *		The charge in 64-bit integers, for numbers that fit.
 *
 * numeric costs some 50 ns an operation, nearly all of it memory management; an
 * integer costs one.  So quantities of the scheme are kept at one decimal scale,
 * amounts per unit at another, and all other amounts at the sum of the two: the
 * scale of a product.  A quantity with more digits lifts the former and the
 * latter by one power of ten.  Every product is checked for overflow, and where
 * anything does not fit, charge.c computes it in numeric: same value, same scale.
 *
 * The digits of a numeric are read from its binary transmission format, the one
 * public form that needs no arithmetic.
 */
#include "postgres.h"

#include "common/int.h"

#include "compat.h"
#include "lib/num.h"
#include "pricing/scheme.h"

#define WIRE_POSITIVE 0x0000	/* sign word of a finite number >= 0 */
#define WIRE_BASE 10000
#define WIRE_BASE_DIGITS 4
#define UNLIMITED PG_INT64_MAX

static const int64 powers_of_ten[] = {
	INT64CONST(1), INT64CONST(10), INT64CONST(100), INT64CONST(1000),
	INT64CONST(10000), INT64CONST(100000), INT64CONST(1000000), INT64CONST(10000000),
	INT64CONST(100000000), INT64CONST(1000000000), INT64CONST(10000000000),
	INT64CONST(100000000000), INT64CONST(1000000000000), INT64CONST(10000000000000),
	INT64CONST(100000000000000), INT64CONST(1000000000000000),
	INT64CONST(10000000000000000), INT64CONST(100000000000000000),
	INT64CONST(1000000000000000000)
};

/* *value *= 10^power; false where it does not fit. */
static inline bool
shift(int64 *value, int power)
{
	Assert(power >= 0);
	if (power >= (int) lengthof(powers_of_ten))
		return *value == 0;
	return !pg_mul_s64_overflow(*value, powers_of_ten[power], value);
}

static inline int
wire_word(const unsigned char *wire, int i)
{
	return wire[2 * i] << 8 | wire[2 * i + 1];
}

/*
 * number = *value / 10^*scale, where *scale is the number's own.  False for what
 * is negative, not finite or too large.  The format is four words (count of
 * digits, weight of the first, sign, scale) and the digits, base 10000.
 */
static bool
fixed_from_numeric(Numeric number, int64 *value, int *scale)
{
	bytea	   *wire = DatumGetByteaPP(DirectFunctionCall1(numeric_send, NumericGetDatum(number)));
	const unsigned char *data = (unsigned char *) VARDATA_ANY(wire);
	int			count = wire_word(data, 0);
	int			weight = (int16) wire_word(data, 1);
	bool		fits = wire_word(data, 2) == WIRE_POSITIVE;
	int			power;

	*scale = wire_word(data, 3);
	*value = 0;
	for (int i = 0; i < count && fits; i++)
		fits = !pg_mul_s64_overflow(*value, WIRE_BASE, value) &&
			!pg_add_s64_overflow(*value, wire_word(data, 4 + i), value);
	pfree(wire);
	power = (weight - count + 1) * WIRE_BASE_DIGITS + *scale;
	if (power < 0)
		*value /= powers_of_ten[-power];	/* the last digit's zeros beyond the scale */
	return fits && (power <= 0 || shift(value, power));
}

/* A number of the scheme at a scale not less than its own; absent is zero. */
static bool
fixed_at(Numeric number, int scale, int64 *value)
{
	int			own;

	*value = 0;
	return number == NULL ||
		(fixed_from_numeric(number, value, &own) && shift(value, scale - own));
}

/* The same, but absent is no limit. */
static bool
fixed_limit(Numeric number, int scale, int64 *value)
{
	if (!fixed_at(number, scale, value))
		return false;
	if (number == NULL)
		*value = UNLIMITED;
	return true;
}

static bool
compile_tier(const PriceScheme *scheme, const PriceTier *tier, FixedTier *fixed)
{
	int			product_scale = scheme->quantity_scale + scheme->amount_scale;
	bool		packed = tier->package_size != NULL;
	Numeric		base = num_add(tier->before, num_zero_or(tier->flat_amount));

	return fixed_limit(tier->up_to, scheme->quantity_scale, &fixed->up_to) &&
		fixed_at(tier->start, scheme->quantity_scale, &fixed->start) &&
		fixed_at(base, product_scale, &fixed->base) &&
		fixed_at(packed ? NULL : tier->unit_amount, scheme->amount_scale, &fixed->unit_amount) &&
		fixed_at(tier->package_size, scheme->quantity_scale, &fixed->package_size) &&
		fixed_at(packed ? tier->unit_amount : NULL, product_scale, &fixed->package_amount);
}

/* The integer form of a scheme, palloc'd; NULL where a number does not fit. */
FixedScheme *
fixed_compile(const PriceScheme *scheme)
{
	int			scale = scheme->quantity_scale + scheme->amount_scale;
	FixedScheme *fixed = palloc(offsetof(FixedScheme, tiers) +
								sizeof(FixedTier) * scheme->tier_count);
	bool		fits;

	fits = fixed_at(scheme->free_quantity, scheme->quantity_scale, &fixed->free_quantity) &&
		fixed_at(scheme->transaction_minimum, scale, &fixed->transaction_minimum) &&
		fixed_limit(scheme->transaction_maximum, scale, &fixed->transaction_maximum) &&
		fixed_at(scheme->minimum_amount, scale, &fixed->minimum_amount) &&
		fixed_limit(scheme->maximum_amount, scale, &fixed->maximum_amount);
	for (int i = 0; i < scheme->tier_count && fits; i++)
		fits = compile_tier(scheme, &scheme->tiers[i], &fixed->tiers[i]);
	return fits ? fixed : NULL;
}

/* The tier that a rest reaches, by bisection; NULL above a closed last one. */
static inline const FixedTier *
fixed_reach(const PriceScheme *scheme, int64 rest)
{
	const FixedTier *tiers = scheme->fixed->tiers;
	int			low = 0;
	int			high = scheme->tier_count - 1;

	if (rest > tiers[high].up_to)
		return NULL;
	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (rest <= tiers[middle].up_to)
			high = middle;
		else
			low = middle + 1;
	}
	return &tiers[low];
}

/* *amount raised to a minimum or lowered to a maximum, both still to be lifted. */
static inline bool
fixed_clamp(int64 *amount, int64 minimum, int64 maximum, int64 lift)
{
	if (pg_mul_s64_overflow(minimum, lift, &minimum))
		return false;
	*amount = Max(*amount, minimum);
	if (maximum == UNLIMITED)
		return true;
	if (pg_mul_s64_overflow(maximum, lift, &maximum))
		return false;
	*amount = Min(*amount, maximum);
	return true;
}

/* What a tier charges for a rest; quantities are at the scheme's scale times lift. */
static inline bool
fixed_tier_charge(const FixedTier *tier, int64 rest, int64 lift, int64 *charge)
{
	int64		part = rest - tier->start * lift;	/* fits: start * lift <= rest */
	int64		amount = tier->base;
	int64		size;
	int64		packages;

	if (tier->package_size != 0)
	{
		if (pg_mul_s64_overflow(tier->package_size, lift, &size))
			return false;
		packages = part / size + (part % size != 0);
		if (pg_mul_s64_overflow(packages, tier->package_amount, &packages) ||
			pg_add_s64_overflow(amount, packages, &amount))
			return false;
	}
	return !pg_mul_s64_overflow(amount, lift, &amount) &&
		!pg_mul_s64_overflow(part, tier->unit_amount, charge) &&
		!pg_add_s64_overflow(*charge, amount, charge);
}

/*
 * scheme_charge in integers.  False where it does not fit or is an error, which
 * charge.c then raises.
 */
bool
fixed_charge(const PriceScheme *scheme, Numeric quantity, Numeric *charge)
{
	const FixedScheme *fixed = scheme->fixed;
	const FixedTier *tier;
	int			scale;
	int64		lift = 1;
	int64		rest;
	int64		amount;

	if (fixed == NULL || !fixed_from_numeric(quantity, &rest, &scale))
		return false;
	if (scale < scheme->quantity_scale)
	{
		if (!shift(&rest, scheme->quantity_scale - scale))
			return false;
		scale = scheme->quantity_scale;
	}
	else if (!shift(&lift, scale - scheme->quantity_scale))
		return false;
	if (pg_mul_s64_overflow(fixed->free_quantity, lift, &amount))
		return false;
	rest = rest > amount ? rest - amount : 0;
	tier = fixed_reach(scheme, lift == 1 ? rest : rest / lift + (rest % lift != 0));
	if (tier == NULL ||
		!fixed_tier_charge(tier, rest, lift, &amount) ||
		!fixed_clamp(&amount, fixed->transaction_minimum, fixed->transaction_maximum, lift) ||
		!fixed_clamp(&amount, fixed->minimum_amount, fixed->maximum_amount, lift))
		return false;
	*charge = int64_div_fast_to_numeric(amount, scale + scheme->amount_scale);
	return true;
}
