/*
 * scheme.h
 *		The inside of a price scheme, for the files of this module only.
 *
 * Every model is brought to one form, a list of tiers, of which a quantity
 * reaches exactly one:
 *
 *		charge = before + flat_amount + (quantity - start) x unit_amount
 *
 * flat, per_unit, package and percentage are one open tier; a rate of r percent
 * is a unit amount of r / 100; what lies above a closed last bracket is one more
 * open tier.  Models differ only in where a tier starts and what lies before it.
 */
#ifndef BILLING_PRICING_SCHEME_H
#define BILLING_PRICING_SCHEME_H

#include "pricing/pricing.h"

/* Digits after the point that numeric can hold. */
#define EXACT_SCALE_MAX 16383

#define num_scale(a) \
	DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(a)))

typedef enum PriceModel
{
	MODEL_FLAT,
	MODEL_PER_UNIT,
	MODEL_PACKAGE,
	MODEL_STAIRSTEP,
	MODEL_VOLUME,
	MODEL_GRADUATED,
	MODEL_GRADUATED_PERCENTAGE,
	MODEL_PERCENTAGE
} PriceModel;

typedef struct PriceTier
{
	Numeric		lower;			/* the up_to below, or zero */
	Numeric		up_to;			/* inclusive; NULL: open */
	Numeric		start;			/* where the part that it charges begins */
	Numeric		before;			/* charge of all that lies below start */
	bool		continues;		/* before is the charge of the tier below, whole */
	Numeric		unit_amount;	/* per unit or per package; NULL: none */
	Numeric		package_size;	/* NULL: charged per unit */
	Numeric		flat_amount;	/* NULL: none */
} PriceTier;

/* The same tier as scaled integers; see fixed.c. */
typedef struct FixedTier
{
	int64		up_to;			/* PG_INT64_MAX: open */
	int64		start;
	int64		base;			/* before + flat_amount */
	int64		unit_amount;	/* zero where charged in packages */
	int64		package_size;	/* zero: charged per unit */
	int64		package_amount;
} FixedTier;

typedef struct FixedScheme
{
	int64		free_quantity;
	int64		transaction_minimum;
	int64		transaction_maximum;
	int64		minimum_amount;
	int64		maximum_amount;
	FixedTier	tiers[FLEXIBLE_ARRAY_MEMBER];
} FixedScheme;

struct PriceScheme
{
	PriceModel	model;
	int			tier_count;		/* the overage's tier included */
	PriceTier  *tiers;
	Numeric		free_quantity;	/* NULL: none; so are the rest */
	Numeric		minimum_amount;
	Numeric		maximum_amount;
	Numeric		transaction_minimum;
	Numeric		transaction_maximum;
	Numeric		free_count;
	Numeric		free_amount;
	int			quantity_scale; /* largest scale of a quantity in the scheme */
	int			amount_scale;	/* largest scale of an amount in the scheme */
	FixedScheme *fixed;			/* NULL where a number does not fit */
};

/* charge.c */
extern Numeric num_zero_or(Numeric number);
extern void quantity_check(Numeric quantity);
extern Numeric scheme_rest(const PriceScheme *scheme, Numeric quantity);
extern int	scheme_reach(const PriceScheme *scheme, Numeric rest);
extern Numeric tier_units(const PriceTier *tier, Numeric rest);
extern Numeric tier_charge(const PriceTier *tier, Numeric rest);
extern Numeric scheme_clamp(const PriceScheme *scheme, Numeric amount);
extern Numeric scheme_charge_numeric(const PriceScheme *scheme, Numeric quantity);

/* fixed.c */
extern FixedScheme *fixed_compile(const PriceScheme *scheme);
extern bool fixed_charge(const PriceScheme *scheme, Numeric quantity, Numeric *charge);

#endif							/* BILLING_PRICING_SCHEME_H */
