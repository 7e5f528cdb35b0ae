/*
 * charge.h
 *		The pure heart: timeline and date to charges that should exist, and
 *		their difference to those that do (doc/rules.md 4).
 */
#ifndef BILLING_CHARGE_H
#define BILLING_CHARGE_H

#include "charge/timeline.h"

/* A charge that should exist: a part of an aligned period with equal terms. */
typedef struct Piece
{
	const SubscriptionItem *item;
	const Price *price;			/* terms in force */
	int64		period_no;
	TimestampTz period_start;	/* the aligned period */
	TimestampTz period_end;
	TimestampTz start;			/* the piece */
	TimestampTz end;
	TimestampTz since;			/* the change that made it; later than start where it counts from
								 * the period's */
	bool		whole;			/* the whole level, whatever its length */
	TimestampTz due;
	bool		accrued;		/* in progress, cut at the horizon and due then */
	Numeric		quantity;		/* rated; of metered items set from usage */
	Numeric    *transactions;	/* AGGREGATE_TRANSACTIONS: the events' amounts in order */
	int			ntransactions;
	Money		money;			/* set by piece_rate */
} Piece;

typedef struct PieceList
{
	Piece	   *pieces;
	int			count;
	int			capacity;
} PieceList;

/* Arrears in progress that are charged before their due instant. */
typedef enum Accrual
{
	ACCRUE_NOTHING,
	ACCRUE_USAGE,				/* metered items */
	ACCRUE_ARREARS				/* all */
} Accrual;

/* What a run has to look at. */
typedef struct Window
{
	TimestampTz billed_through; /* due until then was charged; DT_NOBEGIN: never billed */
	TimestampTz recompute_from; /* DT_NOEND: nothing was edited */
	TimestampTz horizon;		/* what is due until then is charged */
	Accrual		accrue;			/* arrears in progress that count up to the horizon, as if due then */
	bool		at_once;		/* corrections do not wait for a later document ... */
	bool		early;			/* ... nor do prorated charges */
} Window;

/* A row of table charge to be written: what is live of a range from now on. */
typedef struct ChargeRow
{
	TimestampTz start;
	TimestampTz end;			/* = start: nothing is left */
	int			revision;
	Money		money;
	int64		document_discount;	/* of corrections; a first charge's is set with its document */
	int64		granted;
	Numeric		quantity;
	const Price *price;
} ChargeRow;

/* A line to be written: the difference between what should be charged and what is. */
typedef struct Delta
{
	const SubscriptionItem *item;	/* NULL: only the live row still knows the item */
	int64		item_id;
	int64		subscription_id;
	const char *plan;			/* of the subscription at its start; or NULL */
	int			version;		/* schedule version and period number of the key */
	int64		period_no;
	const Price *price;
	const Piece *piece;			/* rated anew; NULL: nothing remains */
	const LiveCharge *live;		/* the row that it revises; NULL: first charge of the range */
	bool		correction;		/* of a line that exists */
	Money		money;			/* signed */
	int64		document_discount;	/* of corrections: what of the share comes back, negative */
	Numeric		quantity;		/* signed on corrections; NULL: none */
	TimestampTz start;			/* range charged or given back */
	TimestampTz end;
	TimestampTz due;
	ChargeRow  *rows;			/* what is live afterwards */
	int			nrows;
} Delta;

typedef struct DeltaList
{
	Delta	   *deltas;
	int			count;
	int			capacity;
	bool		postponed;		/* a difference waits for a later document */
	TimestampTz early_from;		/* start of what is charged before it is due; DT_NOEND: nothing */
} DeltaList;

extern void subscription_pieces(const Subscription *sub, const Window *window, PieceList *list);
extern TimestampTz subscription_next_due(const Subscription *sub, TimestampTz after);
extern TimestampTz subscription_next_regular(const Subscription *sub, TimestampTz from);
extern TimestampTz correction_due(const Subscription *sub, const Window *window);
extern const char *subscription_plan_at(const Subscription *sub, TimestampTz at);
extern bool same_numeric(Numeric a, Numeric b);
extern void piece_list_add(PieceList *list, const Piece *piece);
extern void period_pieces(const SubscriptionItem *item, int64 n, PieceList *list);
extern TimestampTz piece_latest(const Piece *piece);
extern void piece_rate(Piece *piece, int minor_units);
extern void share_correction(Delta *delta);
extern void charge_difference(const Subscription *subs, int nsubs, const Window *window,
							  const PieceList *pieces, const LiveCharge *live, int nlive,
							  DeltaList *list);

#endif							/* BILLING_CHARGE_H */
