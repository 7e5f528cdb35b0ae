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
	ChargeKind	kind;
	int64		ordinal;		/* tells charges without a range apart */
	const Price *price;			/* terms in force */
	int64		period_no;
	TimestampTz period_start;	/* the aligned period */
	TimestampTz period_end;
	TimestampTz cut_start;		/* what of it lies under the version of the calendar */
	TimestampTz cut_end;
	TimestampTz start;			/* the piece */
	TimestampTz end;
	TimestampTz since;			/* the change that made it; later than start where it counts from
								 * the period's */
	TimestampTz terms_end;		/* end of its terms; later than end where a tax rate cuts it */
	bool		whole;			/* the whole level, whatever its length */
	bool		full;			/* the whole level is that of what the calendar's version leaves */
	TimestampTz due;
	bool		accrued;		/* in progress, cut at the horizon and due then */
	Numeric		quantity;		/* rated; of metered items set from usage */
	Numeric    *transactions;	/* AGGREGATE_TRANSACTIONS: the events' amounts in order */
	int			ntransactions;
	Money		money;			/* set by piece_rate */
	TimestampTz cycle;			/* start of its cycle, where discounts need it */
	bool		context;		/* only others' amounts depend on it */
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

/* Does it have a range, or is it only told apart by its ordinal? */
static inline bool
has_range(ChargeKind kind)
{
	return kind == KIND_RECURRING || kind == KIND_USAGE || kind == KIND_MINIMUM;
}

/* Does its ordinal only count ranges that begin at one instant? */
static inline bool
counts_ranges(ChargeKind kind)
{
	return kind == KIND_RECURRING || kind == KIND_USAGE;
}

/* A line to be written: the difference between what should be charged and what is. */
typedef struct Delta
{
	const SubscriptionItem *item;	/* NULL: only the live row still knows the item */
	int64		item_id;
	ChargeKind	kind;
	int64		ordinal;
	int64		subscription_id;
	const char *plan;			/* of the subscription at its start; or NULL */
	int			version;		/* schedule version and period number of the key */
	int64		period_no;
	const Price *price;
	const Piece *piece;			/* rated anew; NULL: nothing remains */
	const LiveCharge *live;		/* the row that it revises; NULL: first charge of the range */
	bool		correction;		/* of a line that exists */
	bool		set_off;		/* its line gave all back before: it stands with what is charged
								 * anew */
	Money		money;			/* signed */
	int64		document_discount;	/* of corrections: what of the share comes back, negative */
	Numeric		quantity;		/* signed on corrections; NULL: none */
	TimestampTz start;			/* range charged or given back */
	TimestampTz end;
	TimestampTz due;
	bool		own_invoice;	/* stands on a document of its own */
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

/* A difference by its place in a list. */
typedef struct DeltaPlace
{
	int64		item_id;
	int			place;
} DeltaPlace;

/* An aligned period of an item. */
typedef struct Period
{
	int64		n;
	TimestampTz start;
	TimestampTz end;
	TimestampTz from;			/* what of it lies under the version of the calendar */
	TimestampTz to;
} Period;

/* periods.c */
extern Period item_period(const SubscriptionItem *item, int64 n);
extern TimestampTz period_cycle_start(const SubscriptionItem *item, const Period *period);
extern TimestampTz piece_cycle_start(const Piece *piece);
extern TimestampTz period_billing_instant(const SubscriptionItem *item, const Period *period);
extern bool period_is_charged(const SubscriptionItem *item, const Period *period);
extern bool period_is_joined(const SubscriptionItem *item, const Period *period);
extern bool periods_are_over(const SubscriptionItem *item, const Period *period);
extern const char *subscription_plan_at(const Subscription *sub, TimestampTz at);
extern const ScheduleVersion *subscription_calendar_at(const Subscription *sub, TimestampTz at);

/* due.c */
extern TimestampTz subscription_next_regular(const Subscription *sub, TimestampTz from,
											 TimestampTz until);
extern TimestampTz with_next_regular(const SubscriptionItem *item, TimestampTz from);
extern TimestampTz with_any_regular(const SubscriptionItem *item, TimestampTz from);
extern TimestampTz piece_due(const Piece *piece);
extern TimestampTz piece_latest(const Piece *piece);
extern TimestampTz correction_due(const Subscription *sub, const Window *window);

/* pieces.c */
extern void item_pieces(const SubscriptionItem *item, const Window *window, PieceList *period,
						PieceList *list);
extern void subscription_pieces(const Subscription *sub, const Window *window, PieceList *list);
extern TimestampTz subscription_next_due(const Subscription *sub, TimestampTz after);
extern void piece_list_add(PieceList *list, const Piece *piece);
extern void period_pieces(const SubscriptionItem *item, int64 n, PieceList *list);
extern bool in_window(const Piece *piece, const Window *window);
extern void piece_rate(Piece *piece, int minor_units);
extern void share_correction(Delta *delta);

/* once.c */
extern bool has_periods(const SubscriptionItem *item);
extern TimestampTz once_cycle_end(const SubscriptionItem *item);
extern bool once_is_over(const SubscriptionItem *item, TimestampTz after);
extern void once_pieces(const SubscriptionItem *item, PieceList *list);

/* cycles.c */
extern void discounted_pieces(const Subscription *sub, const Window *window, PieceList *list);
extern void adjust_pieces(const Subscription *subs, int nsubs, const Window *window, int minor_units,
						  PieceList *list);

/* stretches.c */
extern bool same_numeric(Numeric a, Numeric b);
extern const Terms *terms_at(const SubscriptionItem *item, TimestampTz at);

/* difference.c */
extern bool same_key(const LiveCharge *live, const Piece *piece);
extern const LiveCharge *live_of_item(const LiveCharge *live, int nlive, int64 item_id, int *count);
extern void charge_difference(const Subscription *subs, int nsubs, const Window *window,
							  const PieceList *pieces, const LiveCharge *live, int nlive,
							  DeltaList *list);

/* settle.c */
extern DeltaPlace *deltas_by_item(const DeltaList *list);

#endif							/* BILLING_CHARGE_H */
