/*
 * pricing.h
 *		Price schemes: parse and check, charge, explain.
 *
 * Pure: nothing here touches a table or calls SPI.  Quantities and amounts are
 * numeric and exact; rounding to a currency is the caller's.  The rules are in
 * README.md.
 */
#ifndef BILLING_PRICING_H
#define BILLING_PRICING_H

#include "utils/jsonb.h"
#include "utils/numeric.h"

/* A parsed and checked scheme; lives in one context, never freed piecemeal. */
typedef struct PriceScheme PriceScheme;

/*
 * One row behind a charge.  amount = quantity x unit_amount + flat_amount, where
 * NULL counts as zero.
 */
typedef struct ChargeBracket
{
	int			tier;			/* from 1; 0 for what a minimum or maximum changes */
	Numeric		from_quantity;	/* exclusive, but zero stands in the first bracket */
	Numeric		to_quantity;	/* inclusive; NULL: open */
	Numeric		quantity;		/* units, or begun packages */
	Numeric		unit_amount;	/* per unit or package; NULL: none */
	Numeric		flat_amount;	/* NULL: none */
	Numeric		amount;
} ChargeBracket;

extern PriceScheme *scheme_parse(Jsonb *scheme);
extern Numeric scheme_charge(const PriceScheme *scheme, Numeric quantity);
extern bool scheme_is_transactional(const PriceScheme *scheme);
extern Numeric scheme_charge_transactions(const PriceScheme *scheme,
										  const Numeric *amounts, int count);
extern bool scheme_unit_amount(const PriceScheme *scheme, Numeric quantity,
							   Numeric *unit_amount, Numeric *base_quantity);
extern int	scheme_explain(const PriceScheme *scheme, Numeric quantity,
						   ChargeBracket **brackets);

#endif							/* BILLING_PRICING_H */
