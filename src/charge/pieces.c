/*
 * pieces.c
 *		From a subscription's timeline to the charges that should exist.
 *
 * doc/rules.md 3 and 4, P1, P2 and P6.  Pure: no table, no SPI, no clock.
 */
#include "postgres.h"

#include "charge/stretches.h"
#include "lib/amount.h"

/* The plan of a subscription at an instant. */
const char *
subscription_plan_at(const Subscription *sub, TimestampTz at)
{
	int			i = sub->nplans - 1;

	while (i > 0 && sub->plans[i].from > at)
		i--;
	return sub->plans[i].plan;
}

/* One calendar month later on the wall of the zone. */
static TimestampTz
one_month_after(TimestampTz at, pg_tz *tz)
{
	Interval	month = {.month = 1};
	Schedule	schedule;

	schedule_init(&schedule, at, &month, pg_get_timezone_name(tz), 0);
	return schedule_start(&schedule, 1);
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
		piece.end = fold.stretches[i].end;
		piece.whole = piece.start == period_start && piece.end == period_end;
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
 * Edits after that instant leave the piece alone.  Of an item that ended inside
 * the period they may still move the regular charge for which the piece waits.
 */
TimestampTz
piece_latest(const Piece *piece)
{
	TimestampTz latest = Max(piece->period_end, piece->due);

	return piece->item->end < piece->period_end ? Max(latest, piece->item->end + 32 * USECS_PER_DAY) : latest;
}

/*
 * Is a piece to be looked at?  When it became due since the last run, or while
 * its period or its due instant lies after the earliest edit (P6).  Of edited
 * periods also what is not due yet, since it may be charged already, and so where
 * what has begun is charged at once.
 */
static bool
in_window(const Piece *piece, const Window *window)
{
	if (piece->accrued || piece_latest(piece) > window->recompute_from)
		return true;
	return piece->due > window->billed_through && (piece->due <= window->horizon || window->early);
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
	if (window->accrue == ACCRUE_NOTHING || piece->item->price->advance || piece->due <= window->horizon ||
		piece->start >= window->horizon)
		return;
	if (window->accrue == ACCRUE_USAGE && piece->price->aggregation == AGGREGATE_NONE)
		return;
	if (piece->end > window->horizon)
	{
		piece->end = window->horizon;
		piece->whole = false;
	}
	piece->due = window->horizon;
	piece->accrued = true;
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
	if (period.pieces != NULL)
		pfree(period.pieces);
}

/* The first due instant of the item's pieces after the given one; DT_NOEND: none.  period is scratch. */
static TimestampTz
item_next_due(const SubscriptionItem *item, TimestampTz after, PieceList *period)
{
	Window		window = {.billed_through = after, .recompute_from = DT_NOEND};
	TimestampTz next = DT_NOEND;

	if (item->start >= item->end)
		return DT_NOEND;
	for (int64 n = first_period_no(item, &window); next == DT_NOEND; n++)
	{
		if (schedule_start(&item->schedule, n) >= item->end)
			break;
		period->count = 0;
		period_pieces(item, n, period);
		for (int k = 0; k < period->count; k++)
			if (period->pieces[k].due > after)
				next = Min(next, period->pieces[k].due);
	}
	return next;
}

/* The first instant after which a piece of the subscription becomes due; DT_NOEND: never. */
TimestampTz
subscription_next_due(const Subscription *sub, TimestampTz after)
{
	TimestampTz next = DT_NOEND;
	PieceList	period = {0};

	for (int i = 0; i < sub->nitems; i++)
	{
		TimestampTz due = item_next_due(&sub->items[i], after, &period);

		next = Min(next, due);
	}
	if (period.pieces != NULL)
		pfree(period.pieces);
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
		piece->money = money_of(amount_round(level, minor_units));
	else
		piece->money = money_of(amount_prorate(level,
											   proration_length(price->basis, piece->start, piece->end, tz),
											   proration_length(price->basis, piece->period_start, piece->period_end, tz),
											   minor_units));
}
