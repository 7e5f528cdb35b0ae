/*
 * pieces.c
 *		From a subscription's timeline to the charges that should exist.
 *
 * doc/rules.md 3 and 4, P1, P2 and P6.  Pure: no table, no SPI, no clock.
 */
#include "postgres.h"

#include "charge/charge.h"
#include "lib/amount.h"
#include "lib/num.h"

/* One calendar month later on the wall of the zone. */
static TimestampTz
one_month_after(TimestampTz at, pg_tz *tz)
{
	Interval	month = {.month = 1};
	Schedule	schedule;

	schedule_init(&schedule, at, &month, pg_get_timezone_name(tz), 0);
	return schedule_start(&schedule, 1);
}

/* Are both absent, or the same number? */
bool
same_numeric(Numeric a, Numeric b)
{
	return a == NULL || b == NULL ? a == b : num_cmp(a, b) == 0;
}

/* The terms in force at an instant; NULL where the item is not live. */
static const Terms *
terms_at(const SubscriptionItem *item, TimestampTz at)
{
	int			i = item->nterms - 1;

	if (at < item->start || at >= item->end)
		return NULL;
	while (i > 0 && item->terms[i].from > at)
		i--;
	return &item->terms[i];
}

static bool
same_terms(const Terms *a, const Terms *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return a == b || (a->price == b->price && same_numeric(a->quantity, b->quantity));
}

/* The charge of a whole period; zero where the item is not live. */
static Numeric
level_of(const Terms *terms)
{
	return terms == NULL ? num_from_int(0) : scheme_charge(terms->price->scheme, terms->quantity);
}

/* Stretches of a period while its changes are applied in time order. */
typedef struct Stretch
{
	TimestampTz start;
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

static void
fold_add(Fold *fold, TimestampTz start, TimestampTz since, const Terms *terms)
{
	fold->stretches[fold->count++] = (Stretch) {start, since, terms};
}

/* The side that a change takes: a rise that of the price it goes to, a fall that of the price it leaves. */
static ProrationSide
side_of_change(const Fold *fold, const Terms *force, TimestampTz at, const Terms *terms)
{
	const SubscriptionItem *item = fold->item;
	int			order = num_cmp(level_of(terms), level_of(force));

	if (order < 0)
		return force->price->credit_side;
	if (order == 0)
		return SIDE_PRORATE;
	if (force == NULL && at == item->start && at == item->subscription->start && item->subscription->first_period_set)
		return item->subscription->first_period;
	return terms->price->charge_side;
}

/*
 * Applies a change inside the period: ignored until the period ends, counting
 * from its start, or from its instant (doc/rules.md 4, proration).  It is judged
 * against the level in force after the earlier changes.
 */
static void
fold_change(Fold *fold, TimestampTz at, const Terms *terms)
{
	const Terms *force = fold->stretches[fold->count - 1].terms;

	if (same_terms(force, terms))
		return;
	if (fold->item->price->aggregation != AGGREGATE_NONE)
	{
		fold_add(fold, at, at, terms);
		return;
	}
	switch (side_of_change(fold, force, at, terms))
	{
		case SIDE_NONE:
			break;
		case SIDE_FULL:
			fold->count = 0;
			fold_add(fold, fold->period_start, at, terms);
			break;
		case SIDE_PRORATE:
			fold_add(fold, at, at, terms);
			break;
	}
}

/* All stretches of an aligned period. */
static Fold
fold_period(const SubscriptionItem *item, TimestampTz period_start, TimestampTz period_end)
{
	Fold		fold = {.item = item, .period_start = period_start};

	fold.stretches = palloc(sizeof(Stretch) * (item->nterms + 3));
	fold_add(&fold, period_start, period_start, terms_at(item, period_start));
	if (item->start > period_start && item->start < period_end)
		fold_change(&fold, item->start, terms_at(item, item->start));
	for (int i = 1; i < item->nterms; i++)
	{
		TimestampTz at = item->terms[i].from;

		if (at > Max(period_start, item->start) && at < Min(period_end, item->end))
			fold_change(&fold, at, &item->terms[i]);
	}
	if (item->end > Max(period_start, item->start) && item->end < period_end)
		fold_change(&fold, item->end, NULL);
	return fold;
}

/* Does a period of the item have its regular charge? */
static bool
is_regular(const SubscriptionItem *item, TimestampTz period_start, TimestampTz period_end)
{
	return item->price->advance
		? period_start < item->end && (period_start >= item->start || item->start == item->subscription->start)
		: period_end <= item->end && period_end > item->start;
}

/*
 * The first instant at or after from at which the timeline has a regular
 * charge of the subscription; DT_NOEND when there is none.
 */
TimestampTz
subscription_next_regular(const Subscription *sub, TimestampTz from)
{
	TimestampTz next = DT_NOEND;

	for (int i = 0; i < sub->nitems; i++)
	{
		const SubscriptionItem *item = &sub->items[i];
		TimestampTz low = Max(from, item->start);
		int64		n = schedule_period_at(&item->schedule, low) - 1;

		for (int tries = 0; tries < 4; tries++, n++)
		{
			TimestampTz period_start = schedule_start(&item->schedule, n);
			TimestampTz period_end = schedule_start(&item->schedule, n + 1);
			TimestampTz due = item->price->advance ? Max(period_start, item->start) : period_end;

			if (due >= from && is_regular(item, period_start, period_end))
			{
				next = Min(next, due);
				break;
			}
		}
	}
	return next;
}

/* With the next regular invoice from an instant on, or at once when none lies within a month. */
static TimestampTz
with_next_regular(const SubscriptionItem *item, TimestampTz from)
{
	TimestampTz next = subscription_next_regular(item->subscription, from);

	return next == DT_NOEND || next > one_month_after(from, item->schedule.tz) ? from : next;
}

/*
 * When a piece is charged: in advance at its start, in arrears at the end of
 * its period; one that a change inside its period made, unless it is the first
 * of the subscription, and arrears that end early, with the next regular invoice.
 */
static TimestampTz
piece_due(const Piece *piece)
{
	const SubscriptionItem *item = piece->item;

	if (!item->price->advance)
		return piece->end == piece->period_end ? piece->period_end : with_next_regular(item, piece->end);
	if (piece->since == piece->period_start || piece->since == item->subscription->start)
		return piece->since;
	return with_next_regular(item, piece->since);
}

/* A part without a length by its price's basis makes no row and no line. */
static bool
has_length(const Piece *piece)
{
	return piece->price->aggregation != AGGREGATE_NONE || piece->whole ||
		proration_length(piece->price->basis, piece->start, piece->end, piece->item->schedule.tz) > 0;
}

/* Adds the pieces of period n, not rated. */
void
period_pieces(const SubscriptionItem *item, int64 n, PieceList *list)
{
	TimestampTz period_start = schedule_start(&item->schedule, n);
	TimestampTz period_end = schedule_start(&item->schedule, n + 1);
	Fold		fold = fold_period(item, period_start, period_end);

	for (int i = 0; i < fold.count; i++)
	{
		const Terms *terms = fold.stretches[i].terms;
		Piece		piece = {.item = item, .period_no = n, .period_start = period_start, .period_end = period_end};

		if (terms == NULL)
			continue;
		piece.price = terms->price;
		piece.quantity = terms->quantity;
		piece.start = fold.stretches[i].start;
		piece.since = fold.stretches[i].since;
		piece.end = i + 1 < fold.count ? fold.stretches[i + 1].start : period_end;
		piece.whole = piece.start == period_start && piece.end == period_end;
		if (!has_length(&piece))
			continue;
		piece.due = piece_due(&piece);
		piece_list_add(list, &piece);
	}
	pfree(fold.stretches);
}

/* Adds a copy of the piece. */
void
piece_list_add(PieceList *list, const Piece *piece)
{
	if (list->count == list->capacity)
	{
		list->capacity = Max(8, 2 * list->capacity);
		list->pieces = list->pieces == NULL ? palloc(sizeof(Piece) * list->capacity)
			: repalloc(list->pieces, sizeof(Piece) * list->capacity);
	}
	list->pieces[list->count++] = *piece;
}

/*
 * Is a piece to be looked at?  When it became due since the last run, or while
 * its period or its due instant lies after the earliest edit (P6).  Of edited
 * periods also what is not due yet, since it may be charged already.
 */
static bool
in_window(const Piece *piece, const Window *window)
{
	if (Max(piece->period_end, piece->due) > window->recompute_from)
		return true;
	return piece->due > window->billed_through && piece->due <= window->horizon;
}

/*
 * The period from which on pieces may be in the window.  An item that ended
 * may be due up to a month later.
 */
static int64
first_period_no(const SubscriptionItem *item, const Window *window)
{
	TimestampTz low = Min(window->billed_through, window->recompute_from);

	if (item->end <= low && low < DT_NOEND && low > DT_NOBEGIN)
		low = Max(low - 32 * USECS_PER_DAY, item->start);
	if (low <= item->start)
		return schedule_period_at(&item->schedule, item->start);
	if (low > item->end)
		low = item->end;
	return schedule_period_at(&item->schedule, low) - 1;
}

/* Cuts a piece in arrears that is in progress at the horizon: what it is worth so far. */
static void
accrue(Piece *piece, const Window *window)
{
	if (!window->accrue || piece->item->price->advance || piece->due <= window->horizon ||
		piece->start >= window->horizon)
		return;
	if (piece->end > window->horizon)
	{
		piece->end = window->horizon;
		piece->whole = false;
	}
	piece->due = window->horizon;
}

/*
 * Adds those of a period's pieces that are in the window.  Of an account that
 * was edited all pieces of the period, since its key is compared as a whole.
 */
static void
add_period(const PieceList *period, const Window *window, PieceList *list)
{
	bool		edited = window->recompute_from < DT_NOEND;
	bool		any = false;

	for (int i = 0; i < period->count; i++)
		any = any || in_window(&period->pieces[i], window);
	for (int i = 0; i < period->count && any; i++)
		if (edited || in_window(&period->pieces[i], window))
			piece_list_add(list, &period->pieces[i]);
}

/* Adds the subscription's pieces in the window, item by item in time order. */
void
subscription_pieces(const Subscription *sub, const Window *window, PieceList *list)
{
	PieceList	period = {0};

	for (int i = 0; i < sub->nitems; i++)
	{
		const SubscriptionItem *item = &sub->items[i];

		if (item->start > window->horizon || item->start >= item->end)
			continue;
		for (int64 n = first_period_no(item, window);; n++)
		{
			TimestampTz period_start = schedule_start(&item->schedule, n);

			if (period_start > window->horizon || period_start >= item->end)
				break;
			period.count = 0;
			period_pieces(item, n, &period);
			for (int k = 0; k < period.count; k++)
				accrue(&period.pieces[k], window);
			add_period(&period, window, list);
		}
	}
}

/* The first due instant of the item's pieces after the given one; DT_NOEND: none. */
static TimestampTz
item_next_due(const SubscriptionItem *item, TimestampTz after)
{
	Window		window = {.billed_through = after, .recompute_from = DT_NOEND};
	PieceList	period = {0};
	TimestampTz next = DT_NOEND;

	if (item->start >= item->end)
		return DT_NOEND;
	for (int64 n = first_period_no(item, &window); next == DT_NOEND; n++)
	{
		if (schedule_start(&item->schedule, n) >= item->end)
			break;
		period.count = 0;
		period_pieces(item, n, &period);
		for (int k = 0; k < period.count; k++)
			if (period.pieces[k].due > after)
				next = Min(next, period.pieces[k].due);
	}
	return next;
}

/* The first instant after which a piece of the subscription becomes due; DT_NOEND: never. */
TimestampTz
subscription_next_due(const Subscription *sub, TimestampTz after)
{
	TimestampTz next = DT_NOEND;

	for (int i = 0; i < sub->nitems; i++)
		next = Min(next, item_next_due(&sub->items[i], after));
	return next;
}

/*
 * When a correction of the subscription is written: with its next regular
 * charge after what was billed, at once (the horizon) when none lies within a
 * month.  Later than the horizon: it waits.
 */
TimestampTz
correction_due(const Subscription *sub, const Window *window)
{
	TimestampTz next;

	if (sub == NULL || sub->nitems == 0 || window->billed_through == DT_NOBEGIN)
		return window->horizon;
	next = subscription_next_regular(sub, window->billed_through + 1);
	if (next == DT_NOEND || next > one_month_after(window->horizon, sub->items[0].schedule.tz))
		return window->horizon;
	return next;
}

/*
 * The amount of a piece in minor units, rounded once (P2): level x length /
 * full length, or of metered items the undivided charge of their usage.
 */
void
piece_rate(Piece *piece, int minor_units)
{
	const SubscriptionItem *item = piece->item;
	const Price *price = piece->price;
	pg_tz	   *tz = item->schedule.tz;
	Numeric		level;

	if (price->aggregation == AGGREGATE_TRANSACTIONS)
		level = scheme_charge_transactions(price->scheme, piece->transactions, piece->ntransactions);
	else
		level = scheme_charge(price->scheme, piece->quantity);
	if (price->aggregation != AGGREGATE_NONE || piece->whole)
		piece->amount = amount_round(level, minor_units);
	else
		piece->amount = amount_prorate(level,
									   proration_length(price->basis, piece->start, piece->end, tz),
									   proration_length(price->basis, piece->period_start, piece->period_end, tz),
									   minor_units);
}
