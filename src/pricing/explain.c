/*
 * explain.c
 *		The brackets behind a charge.
 *
 * Every bracket is computed from its own tier; the sums that the tiers carry for
 * a fast charge have no part in it.  So explaining is also a check of charging.
 */
#include "postgres.h"

#include "lib/num.h"
#include "pricing/scheme.h"

/* The row of a tier for the part of the rest that it charges. */
static void
explain_tier(const PriceScheme *scheme, int i, Numeric rest, ChargeBracket *bracket)
{
	const PriceTier *tier = &scheme->tiers[i];

	bracket->tier = i + 1;
	bracket->from_quantity = tier->lower;
	bracket->to_quantity = tier->up_to;
	bracket->quantity = tier_units(tier, rest);
	bracket->unit_amount = tier->unit_amount;
	bracket->flat_amount = tier->flat_amount;
	bracket->amount = num_zero_or(tier->flat_amount);
	if (tier->unit_amount != NULL)
		bracket->amount = num_add(bracket->amount, num_mul(bracket->quantity, tier->unit_amount));
}

/* The row without tier, where minima and maxima change the sum; returns the rows it takes. */
static int
explain_limits(const PriceScheme *scheme, Numeric sum, ChargeBracket *bracket)
{
	Numeric		change = num_sub(scheme_clamp(scheme, sum), sum);

	if (num_sign(change) == 0)
		return 0;
	memset(bracket, 0, sizeof(*bracket));
	bracket->amount = change;
	return 1;
}

/*
 * The brackets that a quantity enters, lowest first, palloc'd into *brackets;
 * returns how many.  They sum to scheme_charge.  Same errors.
 */
int
scheme_explain(const PriceScheme *scheme, Numeric quantity, ChargeBracket **brackets)
{
	Numeric		sum = num_from_int(0);
	Numeric		rest;
	int			reached;
	int			first;
	int			count = 0;

	quantity_check(quantity);
	rest = scheme_rest(scheme, quantity);
	reached = first = scheme_reach(scheme, rest);
	while (scheme->tiers[first].continues)
		first--;
	*brackets = palloc(sizeof(ChargeBracket) * (reached - first + 2));
	for (int i = first; i <= reached; i++, count++)
	{
		explain_tier(scheme, i, i < reached ? scheme->tiers[i].up_to : rest, &(*brackets)[count]);
		sum = num_add(sum, (*brackets)[count].amount);
	}
	return count + explain_limits(scheme, sum, &(*brackets)[count]);
}
