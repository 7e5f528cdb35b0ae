/*
 * pieces.c
 *		From a subscription's timeline to the charges that should exist.
 *
 * doc/rules.md 3 and 4, P1, P2 and P6.  Pure: no table, no SPI, no clock.
 */
#include "postgres.h"

#include "charge/stretches.h"
#include "lib/amount.h"

/* Adds the pieces of period n, not rated. */
void
period_pieces(const SubscriptionItem *item, int64 n, PieceList *list)
{
	Period		period = item_period(item, n);
	Fold		fold;

	if (!period_is_charged(item, &period))
		return;
	fold = fold_period(item, period.from, period.to, DT_NOEND);
	for (int i = 0; i < fold.count; i++)
	{
		const Stretch *stretch = &fold.stretches[i];
		Piece		piece = {
			.item = item, .kind = item->kind, .period_no = n, .period_start = period.start,
			.period_end = period.end, .cut_start = period.from, .cut_end = period.to
		};

		if (stretch->terms == NULL)
			continue;
		piece.price = stretch->terms->price;
		piece.quantity = stretch->terms->quantity;
		piece.start = stretch->start;
		piece.since = stretch->since;
		piece.end = piece.terms_end = stretch->end;
		piece.full = stretch->full;
		piece.whole = (piece.start == period.start && piece.end == period.end) ||
			(piece.full && piece.start == period.from && piece.end == period.to);
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
 * periods also what is not due yet, since it may be charged already, and so where
 * what has begun is charged at once.
 */
bool
in_window(const Piece *piece, const Window *window)
{
	if (piece->accrued || piece_latest(piece) > window->recompute_from)
		return true;
	return piece->due > window->billed_through && (piece->due <= window->horizon || window->early);
}

/*
 * The period from which on pieces may be in the window.  Of an item that ended,
 * or that may be interrupted, they may be due up to a month later.
 */
static int64
first_period_no(const SubscriptionItem *item, const Window *window)
{
	TimestampTz low = Min(window->billed_through, window->recompute_from);
	TimestampTz start = item->from;

	if ((item->irregular || item->to <= low) && low < DT_NOEND && low > DT_NOBEGIN)
		low = Max(low - 32 * USECS_PER_DAY, start);
	if (item->charge_from != DATEVAL_NOBEGIN)
		start = Max(start, Min(local_midnight(item->charge_from, item->schedule.tz), item->to));
	if (low <= start)
		return schedule_period_at(&item->schedule, start) - (start == item->from ? 0 : 1);
	if (low > item->to)
		low = item->to;
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

/* Adds the pieces of an item's periods in the window.  period is scratch. */
void
item_pieces(const SubscriptionItem *item, const Window *window, PieceList *period, PieceList *list)
{
	if (item->from > window->horizon || item->from >= item->to)
		return;
	for (int64 n = first_period_no(item, window);; n++)
	{
		TimestampTz period_start = schedule_start(&item->schedule, n);

		if (period_start > window->horizon || period_start >= item->to)
			break;
		period->count = 0;
		period_pieces(item, n, period);
		for (int k = 0; k < period->count; k++)
			accrue(&period->pieces[k], window);
		add_period(period, window, list);
	}
}

/* Adds the subscription's pieces in the window, item by item in time order. */
void
subscription_pieces(const Subscription *sub, const Window *window, PieceList *list)
{
	PieceList	pieces = {0};

	for (int i = 0; i < sub->nitems; i++)
	{
		const SubscriptionItem *item = &sub->items[i];

		if (has_periods(item))
		{
			item_pieces(item, window, &pieces, list);
			continue;
		}
		if (once_is_over(item, Min(window->billed_through, window->recompute_from)))
			continue;
		pieces.count = 0;
		once_pieces(item, &pieces);
		for (int k = 0; k < pieces.count; k++)
			if (in_window(&pieces.pieces[k], window))
				piece_list_add(list, &pieces.pieces[k]);
	}
	if (pieces.pieces != NULL)
		pfree(pieces.pieces);
}

/*
 * The period from which on an item's pieces may be due after an instant.  Where
 * nothing changes in those before it, each of them is one piece, due at its
 * start in advance and at its end in arrears, so they need not be looked at.
 */
static int64
first_due_no(const SubscriptionItem *item, TimestampTz after)
{
	Window		window = {.billed_through = after, .recompute_from = DT_NOEND};
	int64		first = first_period_no(item, &window);
	TimestampTz changed = Max(item->from, item->terms[item->nterms - 1].from);
	int64		next;

	if (item->irregular || after < changed || changed > schedule_start(&item->schedule, first))
		return first;
	next = schedule_period_at(&item->schedule, after) + (item->price->advance ? 1 : 0);
	return next > first && schedule_start(&item->schedule, next) <= item->to ? next : first;
}

/* The first due instant of the item's pieces after the given one; DT_NOEND: none.  pieces is scratch. */
static TimestampTz
item_next_due(const SubscriptionItem *item, TimestampTz after, PieceList *pieces)
{
	TimestampTz next = DT_NOEND;
	bool		recurs = has_periods(item);

	if (recurs ? item->from >= item->to : once_is_over(item, after))
		return DT_NOEND;
	for (int64 n = recurs ? first_due_no(item, after) : 0; next == DT_NOEND; n++)
	{
		pieces->count = 0;
		if (recurs)
		{
			Period		period = item_period(item, n);

			if (periods_are_over(item, &period))
				break;
			period_pieces(item, n, pieces);
		}
		else
			once_pieces(item, pieces);
		for (int k = 0; k < pieces->count; k++)
			if (pieces->pieces[k].due > after)
				next = Min(next, pieces->pieces[k].due);
		if (!recurs)
			break;
	}
	return next;
}

/* The first instant after which a piece of the subscription becomes due; DT_NOEND: never. */
TimestampTz
subscription_next_due(const Subscription *sub, TimestampTz after)
{
	TimestampTz next = DT_NOEND;
	PieceList	pieces = {0};

	for (int i = 0; i < sub->nitems; i++)
	{
		TimestampTz due = item_next_due(&sub->items[i], after, &pieces);

		next = Min(next, due);
	}
	for (int i = 0; i < sub->nminimums; i++)
		for (int s = 0; s < sub->minimums[i].nsegments; s++)
		{
			TimestampTz due = item_next_due(&sub->minimums[i].segments[s], after, &pieces);

			next = Min(next, due);
		}
	if (pieces.pieces != NULL)
		pfree(pieces.pieces);
	return next;
}

/*
 * The amount of a piece in minor units, rounded once (P2): level x length /
 * full length, or of metered items the undivided charge of their usage.  That
 * of an instalment is known.
 */
void
piece_rate(Piece *piece, int minor_units)
{
	const SubscriptionItem *item = piece->item;
	const Price *price = piece->price;
	TimestampTz full_start = piece->full ? piece->cut_start : piece->period_start;
	TimestampTz full_end = piece->full ? piece->cut_end : piece->period_end;
	pg_tz	   *tz = item->schedule.tz;
	Numeric		level;

	if (piece->kind == KIND_INSTALMENT)
		return;
	if (price->aggregation == AGGREGATE_TRANSACTIONS)
		level = scheme_charge_transactions(price->scheme, piece->transactions, piece->ntransactions);
	else
		level = scheme_charge(price->scheme, piece->quantity);
	if (price->aggregation != AGGREGATE_NONE || piece->whole)
		piece->money = money_of(amount_round(level, minor_units));
	else
		piece->money = money_of(amount_prorate(level,
											   proration_length(price->basis, piece->start, piece->end, tz),
											   proration_length(price->basis, full_start, full_end, tz),
											   minor_units));
}
