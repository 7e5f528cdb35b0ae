/*
 * due.c
 *		When a charge and a correction are due (doc/rules.md 4).
 *
 * Pure.  All of it follows from the timeline alone, never from what was
 * charged or from when runs took place.
 */
#include "postgres.h"

#include "charge/stretches.h"

/* How far a search for a regular charge goes that has no other bound. */
#define SEARCH_BOUND (36525 * USECS_PER_DAY)

/* One calendar month later on the wall of the zone. */
static TimestampTz
one_month_after(TimestampTz at, pg_tz *tz)
{
	Interval	month = {.month = 1};

	return instant_after(at, &month, tz);
}

/*
 * When a period has its regular charge: in advance at its start, where the
 * item is live there, or at the start of the subscription; in arrears at its
 * end, where the item is live until then.  DT_NOEND: it has none.  A change
 * after it never takes it away, or what waits for it would become due in a past
 * that was billed.
 */
static TimestampTz
regular_due(const SubscriptionItem *item, const Period *period)
{
	TimestampTz latest = item->price->advance ? period_cycle_start(item, period) : period->to;
	TimestampTz due = DT_NOEND;
	Fold		fold;

	if (!period_is_charged(item, period) || period_is_joined(item, period))
		return DT_NOEND;
	fold = fold_period(item, period->from, period->to, latest);
	for (int i = 0; i < fold.count && due == DT_NOEND; i++)
	{
		const Stretch *stretch = &fold.stretches[i];

		if (stretch->terms == NULL)
			continue;
		if (!item->price->advance && stretch->end == period->to)
			due = period->to;
		if (item->price->advance &&
			(stretch->since == period->from || stretch->since == item->subscription->start))
			due = stretch->since;
	}
	pfree(fold.stretches);
	return due;
}

/* The first instant from one to another at which an item has a regular charge; DT_NOEND: none. */
static TimestampTz
item_next_regular(const SubscriptionItem *item, TimestampTz from, TimestampTz until)
{
	int64		n;

	if (!has_periods(item))
	{
		for (int i = 0; i < item->ninstalments; i++)
			if (item->instalments[i].due >= from && item->instalments[i].due <= until)
				return item->instalments[i].due;
		return DT_NOEND;
	}
	if (item->from >= item->to)
		return DT_NOEND;
	n = schedule_period_at(&item->schedule, Max(from, item->from)) - 1;
	for (Period period = item_period(item, n);
		 period.start <= until && !periods_are_over(item, &period);
		 period = item_period(item, period.n + 1))
	{
		TimestampTz due = regular_due(item, &period);

		if (due >= from && due <= until)
			return due;
	}
	return DT_NOEND;
}

/*
 * The first instant from one to another, both included, at which the timeline
 * has a regular charge of the subscription; DT_NOEND when there is none.
 */
TimestampTz
subscription_next_regular(const Subscription *sub, TimestampTz from, TimestampTz until)
{
	RegularSearch *search = &sub->searches[(uint64) (from / USECS_PER_HOUR + until / USECS_PER_DAY) % sub->nsearches];
	TimestampTz next = DT_NOEND;

	if (search->done && search->from == from && search->until == until)
		return search->found;
	for (int i = 0; i < sub->nitems && next > from; i++)
	{
		TimestampTz due = item_next_regular(&sub->items[i], from, Min(until, next));

		next = Min(next, due);
	}
	*search = (RegularSearch)
	{
		.done = true, .from = from, .until = until, .found = next
	};
	return next;
}

/* With the next regular invoice from an instant on, or at once when none lies within a month. */
TimestampTz
with_next_regular(const SubscriptionItem *item, TimestampTz from)
{
	TimestampTz until = one_month_after(from, item->schedule.tz);
	TimestampTz next = subscription_next_regular(item->subscription, from, until);

	return next == DT_NOEND ? from : next;
}

/* With the next regular invoice from an instant on, whenever that is, or at once when none is left. */
TimestampTz
with_any_regular(const SubscriptionItem *item, TimestampTz from)
{
	TimestampTz next = subscription_next_regular(item->subscription, from, from + SEARCH_BOUND);

	return next == DT_NOEND ? from : next;
}

/* Does the piece belong to a first period that is joined to the next? */
static bool
piece_is_joined(const Piece *piece)
{
	Period		period = {
		.start = piece->period_start, .end = piece->period_end, .from = piece->cut_start, .to = piece->cut_end
	};

	return period_is_joined(piece->item, &period);
}

/*
 * What belongs to a first period that is joined to the next: with the next
 * one's regular charge, or where that has none, after its own service.
 */
static TimestampTz
joined_due(const Piece *piece)
{
	Period		next = item_period(piece->item, piece->period_no + 1);
	TimestampTz due = periods_are_over(piece->item, &next) ? DT_NOEND : regular_due(piece->item, &next);

	if (due != DT_NOEND)
		return due;
	return with_next_regular(piece->item, piece->item->price->advance ? Min(piece->end, piece->item->to) : piece->end);
}

/*
 * When a piece is charged: in advance at its start, in arrears at the end of
 * its period; one that a change inside its period made, unless it is the first
 * of the subscription, and arrears that end early, with the next regular invoice.
 */
TimestampTz
piece_due(const Piece *piece)
{
	const SubscriptionItem *item = piece->item;

	if (piece_is_joined(piece))
		return joined_due(piece);
	if (!item->price->advance)
		return piece->end == piece->cut_end ? piece->cut_end : with_next_regular(item, piece->end);
	if (piece->since == piece->cut_start || piece->since == item->subscription->start)
		return piece->since;
	return with_next_regular(item, piece->since);
}

/*
 * Edits after that instant leave what is charged once alone: the cycle whose
 * discounts it has is over, and the month in which it waits for a regular
 * charge.  A set-up fee or an event's charge for which none was left may still
 * get one, by whatever edit.
 */
static TimestampTz
once_latest(const Piece *piece)
{
	const SubscriptionItem *item = piece->item;
	TimestampTz latest = Max(once_cycle_end(item), Max(piece->period_end, piece->due));

	if (item->own_invoice)
		return latest;
	if (piece->kind != KIND_ONE_OFF && piece->due == item->start &&
		subscription_next_regular(item->subscription, item->start, item->start) == DT_NOEND)
		return DT_NOEND;
	return Max(latest, Max(piece->due + 1, item->start + 32 * USECS_PER_DAY));
}

/*
 * Edits after that instant leave the piece alone: its period is over, or the
 * period to which it is joined.  Where it waits for a regular charge that an
 * item's end or an interruption may take away, they may still move that within
 * a month.
 */
TimestampTz
piece_latest(const Piece *piece)
{
	const SubscriptionItem *item = piece->item;
	TimestampTz latest = Max(piece->period_end, piece->due);

	if (!has_periods(item) && piece->kind != KIND_INSTALMENT)
		return once_latest(piece);
	if (has_periods(item) && piece_is_joined(piece))
		latest = Max(latest, schedule_start(&item->schedule, piece->period_no + 2));
	if (item->irregular)
		return Max(latest, Max(piece->end, piece->since) + 32 * USECS_PER_DAY);
	return item->end < piece->period_end ? Max(latest, item->end + 32 * USECS_PER_DAY) : latest;
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
	next = subscription_next_regular(sub, window->billed_through + 1,
									 one_month_after(window->horizon, sub->items[0].schedule.tz));
	return next == DT_NOEND ? window->horizon : next;
}
