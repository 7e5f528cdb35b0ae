/*
 * money.h
 *		The money of a charge and its parts, in minor units.
 *
 * amount = gross - discount + increment, always: what is added, taken off or
 * turned round is so part by part.
 */
#ifndef BILLING_MONEY_H
#define BILLING_MONEY_H

#include "lib/amount.h"

typedef struct Money
{
	int64		gross;			/* before discounts and increments */
	int64		discount;		/* taken off */
	int64		increment;		/* added */
	int64		amount;			/* what is charged */
} Money;

/* An amount without discounts and increments. */
static inline Money
money_of(int64 amount)
{
	return (Money)
	{
		.gross = amount, .amount = amount
	};
}

static inline Money
money_add(Money a, Money b)
{
	return (Money)
	{
		amount_add(a.gross, b.gross), amount_add(a.discount, b.discount),
			amount_add(a.increment, b.increment), amount_add(a.amount, b.amount)
	};
}

static inline Money
money_sub(Money a, Money b)
{
	return (Money)
	{
		amount_sub(a.gross, b.gross), amount_sub(a.discount, b.discount),
			amount_sub(a.increment, b.increment), amount_sub(a.amount, b.amount)
	};
}

static inline Money
money_neg(Money a)
{
	Money		nothing = {0};

	return money_sub(nothing, a);
}

static inline bool
money_equal(Money a, Money b)
{
	return a.gross == b.gross && a.discount == b.discount && a.increment == b.increment && a.amount == b.amount;
}

#endif							/* BILLING_MONEY_H */
