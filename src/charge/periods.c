/*
 * periods.c
 *		The aligned periods of an item, and whether they are charged at all.
 *
 * doc/rules.md 3.  A version of the calendar ends where the next one begins: of
 * the period under way there only a stub is left.  Pure.
 */
#include "postgres.h"

#include "charge/charge.h"

/* The plan of a subscription at an instant. */
const char *
subscription_plan_at(const Subscription *sub, TimestampTz at)
{
	int			i = sub->nplans - 1;

	while (i > 0 && sub->plans[i].from > at)
		i--;
	return sub->plans[i].plan;
}

/* The version of a subscription's calendar at an instant. */
const ScheduleVersion *
subscription_calendar_at(const Subscription *sub, TimestampTz at)
{
	int			i = sub->ncalendars - 1;

	while (i > 0 && sub->calendars[i].from > at)
		i--;
	return &sub->calendars[i];
}

/* Period n of an item, and what of it its version of the calendar leaves (from = to: nothing). */
Period
item_period(const SubscriptionItem *item, int64 n)
{
	Period		period = {.n = n};

	period.start = schedule_start(&item->schedule, n);
	period.end = schedule_start(&item->schedule, n + 1);
	period.from = Max(period.start, item->calendar->from);
	period.to = Max(period.from, Min(period.end, item->calendar->to));
	return period;
}

/* The instant that tells to which cycle a period belongs: its own start, or the subscription's. */
TimestampTz
period_cycle_start(const SubscriptionItem *item, const Period *period)
{
	return Max(period->from, item->subscription->start);
}

/*
 * The start of the cycle to which a piece belongs, or of its paid part: that
 * in which its period begins, or in which it is charged once.
 */
TimestampTz
piece_cycle_start(const Piece *piece)
{
	const SubscriptionItem *item = piece->item;
	const Schedule *cycles = &item->calendar->cycles;
	TimestampTz start = piece->cut_start;

	if (!has_periods(item) && piece->kind != KIND_INSTALMENT)
		start = Max(schedule_start(cycles, schedule_period_at(cycles, item->start)), item->calendar->from);
	return Max(start, item->subscription->start);
}

/* When the regular invoice of a period is due to be made. */
TimestampTz
period_billing_instant(const SubscriptionItem *item, const Period *period)
{
	return item->price->advance ? period_cycle_start(item, period) : period->to;
}

static bool
is_skipped(const SubscriptionItem *item, const Period *period)
{
	const ScheduleVersion *calendar = item->calendar;
	int64		cycle;

	if (calendar->nskipped == 0)
		return false;
	cycle = schedule_period_at(&calendar->cycles, period_cycle_start(item, period));
	for (int i = 0; i < calendar->nskipped; i++)
		if (calendar->skipped[i] == cycle)
			return true;
	return false;
}

/* Is anything charged for a period?  Not in a skipped cycle, nor outside the item's billing dates. */
bool
period_is_charged(const SubscriptionItem *item, const Period *period)
{
	DateADT		date;

	if (period->from >= period->to || is_skipped(item, period))
		return false;
	if (item->charge_from == DATEVAL_NOBEGIN && item->charge_until == DATEVAL_NOEND)
		return true;
	date = local_date(period_billing_instant(item, period), item->schedule.tz);
	return date >= item->charge_from && date <= item->charge_until;
}

/* Is it a first period of the subscription that is charged with the next one? */
bool
period_is_joined(const SubscriptionItem *item, const Period *period)
{
	TimestampTz start = item->subscription->start;

	return item->calendar->first_period == FIRST_JOIN && item->start == start &&
		start > period->start && start >= period->from && start < period->to;
}

/* Is neither this period nor a later one of the item charged? */
bool
periods_are_over(const SubscriptionItem *item, const Period *period)
{
	if (period->start >= item->to)
		return true;
	return item->charge_until != DATEVAL_NOEND &&
		local_date(period_billing_instant(item, period), item->schedule.tz) > item->charge_until;
}
