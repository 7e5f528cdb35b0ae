/*
 * pieces.c
 *		From a subscription's timeline to the charges that should exist.
 *
 * RULES 3 and 4, P1, P2 and P6.  Pure: no table, no SPI, no clock.
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

/*
 * The part of the aligned period in which an item counts, after its start and
 * its end took their sides in time order; false when there is none, or none
 * that has a length by the price's basis.  Metered items know no sides.
 */
static bool
live_part(const SubscriptionItem *item, Piece *piece)
{
	const Subscription *sub = item->subscription;
	ProrationSide rise = item->price->charge_side;
	ProrationSide fall = item->price->credit_side;
	bool		starts = item->start > piece->period_start;
	bool		ends = item->end < piece->period_end;

	piece->start = Max(piece->period_start, item->start);
	piece->end = Min(piece->period_end, item->end);
	piece->whole = !starts && !ends;
	if (piece->start >= piece->end)
		return false;
	if (item->price->aggregation != AGGREGATE_NONE)
		return true;
	if (item->start == sub->start && sub->first_period_set)
		rise = sub->first_period;
	if (starts && rise == SIDE_NONE)
		return false;
	if (ends && fall == SIDE_FULL)
		return false;
	if (starts && rise == SIDE_FULL)
		piece->start = piece->period_start;
	if (ends && fall == SIDE_NONE)
		piece->end = piece->period_end;
	piece->whole = piece->start == piece->period_start && piece->end == piece->period_end;
	return piece->whole || proration_length(item->price->basis, piece->start, piece->end, item->schedule.tz) > 0;
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

/*
 * When a piece is charged: in advance at its start, in arrears at the end of
 * its period, or when it ends early with the subscription's next regular
 * invoice, or at once when none lies within a month.
 */
static TimestampTz
piece_due(const Piece *piece)
{
	const SubscriptionItem *item = piece->item;
	TimestampTz next;

	if (item->price->advance)
		return Max(piece->period_start, item->start);
	if (piece->end == piece->period_end)
		return piece->period_end;
	next = subscription_next_regular(item->subscription, piece->end);
	if (next == DT_NOEND || next > one_month_after(piece->end, item->schedule.tz))
		return piece->end;
	return next;
}

/* Fills the piece of period n, not rated; false when the item has none there. */
bool
piece_of_period(const SubscriptionItem *item, int64 n, Piece *piece)
{
	memset(piece, 0, sizeof(Piece));
	piece->item = item;
	piece->period_no = n;
	piece->period_start = schedule_start(&item->schedule, n);
	piece->period_end = schedule_start(&item->schedule, n + 1);
	piece->quantity = item->quantity;
	if (!live_part(item, piece))
		return false;
	piece->due = piece_due(piece);
	return true;
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
 * Is a piece to be compared?  When it became due since the last run, or while
 * its period or its due instant lies after the earliest edit (P6).
 */
static bool
in_window(const Piece *piece, const Window *window)
{
	if (piece->due > window->horizon)
		return false;
	return piece->due > window->billed_through ||
		Max(piece->period_end, piece->due) > window->recompute_from;
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

/* Adds the subscription's pieces in the window, item by item in time order. */
void
subscription_pieces(const Subscription *sub, const Window *window, PieceList *list)
{
	for (int i = 0; i < sub->nitems; i++)
	{
		const SubscriptionItem *item = &sub->items[i];

		if (item->start > window->horizon || item->start >= item->end)
			continue;
		for (int64 n = first_period_no(item, window);; n++)
		{
			TimestampTz period_start = schedule_start(&item->schedule, n);
			Piece		piece;

			if (period_start > window->horizon || period_start >= item->end)
				break;
			if (!piece_of_period(item, n, &piece))
				continue;
			accrue(&piece, window);
			if (in_window(&piece, window))
				piece_list_add(list, &piece);
		}
	}
}

/* The first instant after which a piece of the subscription becomes due; DT_NOEND: never. */
TimestampTz
subscription_next_due(const Subscription *sub, TimestampTz after)
{
	TimestampTz next = DT_NOEND;

	for (int i = 0; i < sub->nitems; i++)
	{
		const SubscriptionItem *item = &sub->items[i];
		Window		window = {.billed_through = after, .recompute_from = DT_NOEND};

		if (item->start >= item->end)
			continue;
		for (int64 n = first_period_no(item, &window);; n++)
		{
			Piece		piece;

			if (schedule_start(&item->schedule, n) >= item->end)
				break;
			if (piece_of_period(item, n, &piece) && piece.due > after)
			{
				next = Min(next, piece.due);
				break;
			}
		}
	}
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
	const Price *price = item->price;
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
