/*
 * difference.h
 *		The parts of charge_difference().
 */
#ifndef BILLING_DIFFERENCE_H
#define BILLING_DIFFERENCE_H

#include "charge/charge.h"

/* An account while its keys are compared. */
typedef struct Comparison
{
	const Subscription *subs;	/* by id */
	int			nsubs;
	const Window *window;
	const LiveCharge *live;		/* by item */
	int			nlive;
	bool	   *taken;			/* by a key, for each live row */
	const LiveCharge **minimums;	/* live rows of minimums that charge something */
	int			nminimums;
	const Subscription *corrected;	/* whose corrections are due ... */
	TimestampTz correction_due; /* ... then */
} Comparison;

/* One key while it is compared. */
typedef struct Key
{
	const SubscriptionItem *item;	/* NULL: only live rows know it */
	const Subscription *sub;
	const Window *window;
	Piece	   *pieces;			/* in time order */
	int			npieces;
	bool	   *kept;			/* by a live row, for each piece */
	const LiveCharge *live;		/* in time order, rows of nothing among them */
	int			nlive;
	const LiveCharge *known;	/* the live rows of all keys of the item */
	int			nknown;
	Comparison *account;
	TimestampTz correction_due;
	bool		charged;		/* something is live */
} Key;

static inline bool
is_nothing(const LiveCharge *live)
{
	return live->end == live->start;
}

extern int	piece_version(const Piece *piece);
extern void compare_key(Key *key, DeltaList *list);
extern void deltas_settle(DeltaList *list, const Window *window, const LiveCharge *live, int nlive);

#endif							/* BILLING_DIFFERENCE_H */
