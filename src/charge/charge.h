/*
 * charge.h
 *		The pure heart: timeline and date to charges that should exist, and
 *		their difference to those that do (RULES 4).
 */
#ifndef BILLING_CHARGE_H
#define BILLING_CHARGE_H

#include "charge/timeline.h"

/* A charge that should exist: a part of an aligned period with equal terms. */
typedef struct Piece
{
	const SubscriptionItem *item;
	int64		period_no;
	TimestampTz period_start;	/* the aligned period */
	TimestampTz period_end;
	TimestampTz start;			/* the piece */
	TimestampTz end;
	bool		whole;			/* the whole level, whatever its length */
	TimestampTz due;
	Numeric		quantity;		/* rated; of metered items set from usage */
	Numeric    *transactions;	/* AGGREGATE_TRANSACTIONS: the events' amounts in order */
	int			ntransactions;
	int64		amount;			/* set by piece_rate */
} Piece;

typedef struct PieceList
{
	Piece	   *pieces;
	int			count;
	int			capacity;
} PieceList;

/* What a run has to look at. */
typedef struct Window
{
	TimestampTz billed_through; /* due until then was charged; DT_NOBEGIN: never billed */
	TimestampTz recompute_from; /* DT_NOEND: nothing was edited */
	TimestampTz horizon;		/* what is due until then is charged */
	bool		accrue;			/* arrears in progress count up to the horizon, as if due then */
	bool		at_once;		/* corrections do not wait for a later document */
} Window;

/* A line to be written: the difference between a piece and what is live. */
typedef struct Delta
{
	const SubscriptionItem *item;			/* NULL: only the live row still knows the item */
	const Piece *piece;			/* NULL: nothing remains */
	const LiveCharge *live;		/* NULL: first charge of the range */
	bool		correction;		/* of a line that exists */
	int64		amount;			/* signed */
	int64		remains;		/* what is charged afterwards */
	TimestampTz due;
} Delta;

typedef struct DeltaList
{
	Delta	   *deltas;
	int			count;
	int			capacity;
	bool		postponed;		/* a difference waits for a later document */
} DeltaList;

extern void subscription_pieces(const Subscription *sub, const Window *window, PieceList *list);
extern TimestampTz subscription_next_due(const Subscription *sub, TimestampTz after);
extern TimestampTz subscription_next_regular(const Subscription *sub, TimestampTz from);
extern TimestampTz correction_due(const Subscription *sub, const Window *window);
extern void piece_list_add(PieceList *list, const Piece *piece);
extern bool piece_of_period(const SubscriptionItem *item, int64 n, Piece *piece);
extern void piece_rate(Piece *piece, int minor_units);
extern void charge_difference(const Subscription *subs, int nsubs, const Window *window,
							  const PieceList *pieces, const LiveCharge *live, int nlive,
							  DeltaList *list);

#endif							/* BILLING_CHARGE_H */
