/*
 * stretches.h
 *		The terms that count in the parts of one period.
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
	bool		full;			/* worth the whole level, whatever the calendar leaves of the
								 * period */
} Stretch;

typedef struct Fold
{
	const SubscriptionItem *item;
	TimestampTz start;			/* of what the calendar leaves of the period */
	Stretch    *stretches;
	int			count;
} Fold;

extern Fold fold_period(const SubscriptionItem *item, TimestampTz start, TimestampTz end, TimestampTz until);

#endif							/* BILLING_STRETCHES_H */
