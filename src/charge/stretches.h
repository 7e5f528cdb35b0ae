/*
 * stretches.h
 *		The terms that count in the parts of one aligned period.
 */
#ifndef BILLING_STRETCHES_H
#define BILLING_STRETCHES_H

#include "charge/charge.h"

/* Stretches of a period while its changes are applied in time order. */
typedef struct Stretch
{
	TimestampTz start;
	TimestampTz end;			/* set when all changes are applied */
	TimestampTz since;			/* instant of the change that made it */
	const Terms *terms;			/* NULL: not live */
} Stretch;

typedef struct Fold
{
	const SubscriptionItem *item;
	TimestampTz period_start;
	Stretch    *stretches;
	int			count;
} Fold;

extern Fold fold_period(const SubscriptionItem *item, TimestampTz period_start, TimestampTz period_end);

#endif							/* BILLING_STRETCHES_H */
