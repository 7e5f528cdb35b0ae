/*
 * difference.c
 *		Charges that should exist minus charges that do.
 *
 * RULES 4, P3, P4 and P7.  Pure.  Both sides are matched by (item, start of
 * the range); a live row without a counterpart is taken back.  For a range,
 * what is written is greatest(desired, granted) - charged.
 */
#include "postgres.h"

#include "charge/charge.h"
#include "lib/amount.h"

static void
list_add(DeltaList *list, const Delta *delta)
{
	if (list->count == list->capacity)
	{
		list->capacity = Max(8, 2 * list->capacity);
		list->deltas = list->deltas == NULL ? palloc(sizeof(Delta) * list->capacity)
			: repalloc(list->deltas, sizeof(Delta) * list->capacity);
	}
	list->deltas[list->count++] = *delta;
}

static bool
is_nothing(const LiveCharge *live)
{
	return live->end == live->start;
}

/* The live row of the range that begins where the piece does; NULL: none. */
static const LiveCharge *
find_live(const LiveCharge *live, int nlive, const Piece *piece)
{
	for (int i = 0; i < nlive; i++)
		if (live[i].item_id == piece->item->id && live[i].start == piece->start)
			return &live[i];
	return NULL;
}

static const Piece *
find_piece(const PieceList *pieces, const LiveCharge *live)
{
	for (int i = 0; i < pieces->count; i++)
		if (pieces->pieces[i].item->id == live->item_id && pieces->pieces[i].start == live->start)
			return &pieces->pieces[i];
	return NULL;
}

/*
 * Is a live row without a piece in the window still as it should be, only too
 * old to be compared?
 */
static bool
is_untouched(const Subscription *sub, const LiveCharge *live, const Window *window)
{
	Piece		piece;

	for (int i = 0; i < sub->nitems; i++)
		if (sub->items[i].id == live->item_id)
			return piece_of_period(&sub->items[i], live->period_no, &piece) &&
				piece.start <= live->start && live->end <= piece.end && piece.due <= window->horizon;
	return false;
}

static const Subscription *
find_subscription(const Subscription *subs, int nsubs, int64 id)
{
	for (int i = 0; i < nsubs; i++)
		if (subs[i].id == id)
			return &subs[i];
	return NULL;
}

/*
 * The difference of one range.  A first charge, or one after everything was
 * taken back, is due when the piece is; a correction with the subscription's
 * next regular invoice.
 */
static void
compare(const Piece *piece, const LiveCharge *live, const Subscription *sub, const Window *window,
		DeltaList *list)
{
	Delta		delta = {.piece = piece, .live = live, .item = piece ? piece->item : NULL};
	int64		desired = piece ? piece->amount : 0;

	if (live != NULL)
		desired = Max(desired, live->granted);
	delta.remains = desired;
	delta.amount = amount_sub(desired, live ? live->amount : 0);
	delta.correction = live != NULL && !is_nothing(live);
	if (delta.correction && delta.amount == 0 && (piece == NULL || piece->end == live->end))
		return;
	delta.due = !delta.correction ? piece->due : window->at_once ? window->horizon : correction_due(sub, window);
	if (delta.due > window->horizon)
		list->postponed = true;
	else
		list_add(list, &delta);
}

/*
 * Adds the differences of an account: pieces are those in the window, live its
 * live rows from the earliest edit on (none where nothing was edited).  Live
 * rows of subscriptions that are not given are left alone.
 */
void
charge_difference(const Subscription *subs, int nsubs, const Window *window,
				  const PieceList *pieces, const LiveCharge *live, int nlive, DeltaList *list)
{
	for (int i = 0; i < pieces->count; i++)
	{
		const Piece *piece = &pieces->pieces[i];

		compare(piece, find_live(live, nlive, piece), piece->item->subscription, window, list);
	}
	for (int i = 0; i < nlive; i++)
	{
		const Subscription *sub = find_subscription(subs, nsubs, live[i].subscription_id);

		if (sub != NULL && !is_nothing(&live[i]) && find_piece(pieces, &live[i]) == NULL &&
			!is_untouched(sub, &live[i], window))
			compare(NULL, &live[i], sub, window, list);
	}
}
