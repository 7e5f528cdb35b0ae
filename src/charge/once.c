/*
 * once.c
 *		What is charged without periods: one-time items and instalments.
 *
 * A one-time item is one piece over the local day of its start; an item in
 * instalments has one for each cycle that takes one.  Pure.
 */
#include "postgres.h"

#include "charge/charge.h"
#include "lib/num.h"

/* Is the item charged period by period? */
bool
has_periods(const SubscriptionItem *item)
{
	return item->kind == KIND_RECURRING || item->kind == KIND_USAGE || item->kind == KIND_MINIMUM;
}

/*
 * When a one-time item is charged: on its own invoice at its instant, else with
 * the next regular one; a set-up fee and an event's charge wait for that as
 * long as there is one.
 */
static TimestampTz
once_due(const SubscriptionItem *item)
{
	if (item->own_invoice)
		return item->start;
	return item->kind == KIND_ONE_OFF ? with_next_regular(item, item->start)
		: with_any_regular(item, item->start);
}

static void
add_one_time(const SubscriptionItem *item, const Terms *terms, PieceList *list)
{
	pg_tz	   *tz = item->schedule.tz;
	DateADT		day = local_date(item->start, tz);
	Piece		piece = {.item = item, .kind = item->kind, .whole = true, .since = item->start};

	piece.price = terms->price;
	piece.quantity = terms->quantity;
	piece.start = piece.cut_start = piece.period_start = local_midnight(day, tz);
	piece.end = piece.terms_end = piece.cut_end = piece.period_end = local_midnight(day + 1, tz);
	piece.due = once_due(item);
	piece_list_add(list, &piece);
}

static void
add_instalment(const SubscriptionItem *item, const Terms *terms, const Instalment *instalment,
			   PieceList *list)
{
	Piece		piece = {.item = item, .kind = item->kind, .whole = true, .price = terms->price};

	piece.ordinal = piece.period_no = instalment->ordinal;
	piece.start = piece.since = piece.cut_start = piece.period_start = instalment->start;
	piece.end = piece.terms_end = piece.cut_end = piece.period_end = instalment->end;
	piece.due = instalment->due;
	piece.quantity = num_from_int(1);
	piece.money = money_of(instalment->amount);
	piece_list_add(list, &piece);
}

/* The end of the cycle to which a one-time item belongs. */
TimestampTz
once_cycle_end(const SubscriptionItem *item)
{
	const Schedule *cycles = &item->calendar->cycles;
	TimestampTz start = Max(item->start, item->subscription->start);

	return schedule_start(cycles, schedule_period_at(cycles, start) + 1);
}

/*
 * Is a one-time item neither due nor to be compared any more after an instant?
 * One that may wait as long as it likes is not told here.
 */
bool
once_is_over(const SubscriptionItem *item, TimestampTz after)
{
	if (item->kind == KIND_INSTALMENT || (item->kind != KIND_ONE_OFF && !item->own_invoice))
		return false;
	return item->start + 32 * USECS_PER_DAY <= after && once_cycle_end(item) <= after;
}

/* Adds all pieces of an item without periods; one that ended as it began has none. */
void
once_pieces(const SubscriptionItem *item, PieceList *list)
{
	const Terms *terms = terms_at(item, item->start);

	if (terms == NULL)
		return;
	if (item->kind != KIND_INSTALMENT)
		add_one_time(item, terms, list);
	for (int i = 0; i < item->ninstalments; i++)
		add_instalment(item, terms, &item->instalments[i], list);
}
