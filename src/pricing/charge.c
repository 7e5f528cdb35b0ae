/*
 * charge.c
 *		What a quantity costs under a scheme, exactly.
 *
 * The arithmetic in numeric, which knows no limits; fixed.c has the same in
 * integers for the numbers of every day.  A charge has the scale of the quantity
 * (at least the scheme's own) plus that of the scheme's amounts, whichever of
 * the two computed it.
 */
#include "postgres.h"

#include "lib/errors.h"
#include "lib/num.h"
#include "pricing/scheme.h"

Numeric
num_zero_or(Numeric number)
{
	return number ? number : num_from_int(0);
}

/* A quantity must be finite and not negative. */
void
quantity_check(Numeric quantity)
{
	if (!num_is_finite(quantity) || num_sign(quantity) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_INVALID_QUANTITY),
				 errmsg("invalid quantity"),
				 errdetail("The quantity is %s, but must be finite and not negative.",
						   num_out(quantity))));
}

/* The quantity that the model sees: what is free is taken off first. */
Numeric
scheme_rest(const PriceScheme *scheme, Numeric quantity)
{
	if (scheme->free_quantity == NULL)
		return quantity;
	if (num_cmp(quantity, scheme->free_quantity) <= 0)
		return num_from_int(0);
	return num_sub(quantity, scheme->free_quantity);
}

/*
 * Index of the tier that a rest reaches, by bisection; up_to is inclusive.
 * Raises quantity_out_of_brackets above a closed last one.
 */
int
scheme_reach(const PriceScheme *scheme, Numeric rest)
{
	int			low = 0;
	int			high = scheme->tier_count - 1;
	Numeric		last = scheme->tiers[high].up_to;

	if (last != NULL && num_cmp(rest, last) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_QUANTITY_OUT_OF_BRACKETS),
				 errmsg("quantity lies above the last bracket"),
				 errdetail("The quantity to charge is %s, but the last bracket ends at %s.",
						   num_out(rest), num_out(last)),
				 errhint("Open the last bracket, or set \"overage_unit_amount\" "
						 "where the model takes it.")));
	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (num_cmp(rest, scheme->tiers[middle].up_to) <= 0)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

/* Smallest whole number not below quantity / size. */
static Numeric
begun_packages(Numeric quantity, Numeric size)
{
	Numeric		whole = num_round(num_div_trunc(quantity, size), 0);

	if (num_cmp(num_mul(whole, size), quantity) < 0)
		whole = num_add(whole, num_from_int(1));
	return whole;
}

/* What a tier's unit amount is multiplied with: units above its start, or begun packages. */
Numeric
tier_units(const PriceTier *tier, Numeric rest)
{
	Numeric		part = num_sub(rest, tier->start);

	return tier->package_size ? begun_packages(part, tier->package_size) : part;
}

/* The model's charge of a rest that reaches this tier. */
Numeric
tier_charge(const PriceTier *tier, Numeric rest)
{
	Numeric		charge = num_add(tier->before, num_zero_or(tier->flat_amount));

	if (tier->unit_amount != NULL)
		charge = num_add(charge, num_mul(tier_units(tier, rest), tier->unit_amount));
	return charge;
}

static Numeric
clamp(Numeric amount, Numeric minimum, Numeric maximum)
{
	if (minimum != NULL && num_cmp(amount, minimum) < 0)
		return minimum;
	if (maximum != NULL && num_cmp(amount, maximum) > 0)
		return maximum;
	return amount;
}

/* Minimum and maximum of a transaction; other models than percentage have none. */
static Numeric
clamp_transaction(const PriceScheme *scheme, Numeric amount)
{
	return clamp(amount, scheme->transaction_minimum, scheme->transaction_maximum);
}

/* All minima and maxima, on the charge of one quantity. */
Numeric
scheme_clamp(const PriceScheme *scheme, Numeric amount)
{
	return clamp(clamp_transaction(scheme, amount), scheme->minimum_amount, scheme->maximum_amount);
}

/* scheme_charge without the integers of fixed.c. */
Numeric
scheme_charge_numeric(const PriceScheme *scheme, Numeric quantity)
{
	int			scale;
	Numeric		rest;
	Numeric		charge;

	quantity_check(quantity);
	scale = Max(num_scale(quantity), scheme->quantity_scale) + scheme->amount_scale;
	if (scale > EXACT_SCALE_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("charge has too many digits after the point"),
				 errdetail("It has %d, but numeric holds %d.", scale, EXACT_SCALE_MAX)));
	rest = scheme_rest(scheme, quantity);
	charge = tier_charge(&scheme->tiers[scheme_reach(scheme, rest)], rest);
	return num_round(scheme_clamp(scheme, charge), scale);
}

/*
 * The exact, unrounded charge of a quantity, palloc'd.  Raises invalid_quantity
 * and quantity_out_of_brackets.  Model percentage takes the quantity as the
 * amount of one transaction; free_count and free_amount have no part in it.
 */
Numeric
scheme_charge(const PriceScheme *scheme, Numeric quantity)
{
	Numeric		charge;

	if (fixed_charge(scheme, quantity, &charge))
		return charge;
	return scheme_charge_numeric(scheme, quantity);
}

/* Does the model charge transactions one by one? */
bool
scheme_is_transactional(const PriceScheme *scheme)
{
	return scheme->model == MODEL_PERCENTAGE;
}

/*
 * One transaction after those that are free by count.  What is left of the free
 * amount is taken off; a transaction that lies in it wholly costs nothing.
 */
static Numeric
charge_transaction(const PriceScheme *scheme, Numeric amount, Numeric *free_amount)
{
	Numeric		rest = scheme_rest(scheme, amount);
	Numeric		free = num_cmp(rest, *free_amount) < 0 ? rest : *free_amount;

	if (num_sign(free) > 0)
	{
		*free_amount = num_sub(*free_amount, free);
		rest = num_sub(rest, free);
		if (num_sign(rest) == 0)
			return rest;
	}
	return clamp_transaction(scheme, tier_charge(scheme->tiers, rest));
}

/*
 * The exact charge of a period's transactions, given in order: the first
 * free_count cost nothing and use up none of free_amount; each of the others has
 * its own minimum and maximum; minimum_amount and maximum_amount apply to the
 * sum.  Model percentage only.
 */
Numeric
scheme_charge_transactions(const PriceScheme *scheme, const Numeric *amounts, int count)
{
	Numeric		free_amount = num_zero_or(scheme->free_amount);
	Numeric		free_count = num_zero_or(scheme->free_count);
	Numeric		sum = num_from_int(0);

	Assert(scheme_is_transactional(scheme));
	for (int i = 0; i < count; i++)
	{
		quantity_check(amounts[i]);
		if (num_cmp(num_from_int(i), free_count) >= 0)
			sum = num_add(sum, charge_transaction(scheme, amounts[i], &free_amount));
	}
	return clamp(sum, scheme->minimum_amount, scheme->maximum_amount);
}

/*
 * The one rate behind a charge: true where it is exactly quantity x unit_amount /
 * base_quantity.  A rate is offered and then verified, so free quantities,
 * minima, flat amounts and lower brackets need no cases of their own.
 */
bool
scheme_unit_amount(const PriceScheme *scheme, Numeric quantity,
				   Numeric *unit_amount, Numeric *base_quantity)
{
	Numeric		charge = scheme_charge(scheme, quantity);
	Numeric		rest = scheme_rest(scheme, quantity);
	const PriceTier *tier = &scheme->tiers[scheme_reach(scheme, rest)];

	*unit_amount = tier->unit_amount ? tier->unit_amount : tier->flat_amount;
	*base_quantity = tier->package_size ? tier->package_size : num_from_int(1);
	if (tier->package_size)
		charge = num_mul(charge, tier->package_size);
	return num_cmp(charge, num_mul(quantity, *unit_amount)) == 0;
}
