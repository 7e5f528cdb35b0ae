/*
 * cycles.c
 *		The pieces of whole cycles, where amounts depend on them.
 *
 * doc/rules.md 5.  Pure.  A fixed discount is used up over the pieces of a cycle,
 * so a piece in the window is rated among all of its cycle, and where an edit
 * touches one of them all of them are compared.  The others are context: they
 * are rated and discounted, but neither compared nor charged.
 */
#include "postgres.h"

#include "charge/discount.h"

/* Do amounts of the subscription depend on whole cycles? */
bool
needs_whole_cycles(const Subscription *sub)
{
	for (int i = 0; i < sub->ndiscounts; i++)
		if (sub->discounts[i].percent == NULL)
			return true;
	return false;
}

/* Sets the cycles of pieces; the earliest, DT_NOEND where there is no piece. */
static TimestampTz
earliest_cycle(PieceList *list)
{
	TimestampTz low = DT_NOEND;

	for (int i = 0; i < list->count; i++)
	{
		list->pieces[i].cycle = piece_cycle(&list->pieces[i]);
		low = Min(low, list->pieces[i].cycle);
	}
	return low;
}

/* Is a piece compared because of another one of its period or its cycle? */
static bool
goes_with_others(const Piece *piece, const Piece *pieces, int count, const Window *window)
{
	for (int i = 0; i < count; i++)
	{
		const Piece *other = &pieces[i];

		if (other->item == piece->item && other->period_no == piece->period_no && in_window(other, window))
			return true;
		if (other->cycle == piece->cycle && (has_periods(other->item) || other->kind == KIND_INSTALMENT) &&
			piece_latest(other) > window->recompute_from)
			return true;
	}
	return false;
}

/* Adds all pieces of the cycles that have one in the window; those that only help to rate are context. */
static void
add_cycles(const Subscription *sub, const Window *window, PieceList *list)
{
	PieceList	pieces = {0};
	Window		wide = *window;
	int			first = list->count;
	bool		edited = window->recompute_from < DT_NOEND;

	subscription_pieces(sub, window, &pieces);
	wide.recompute_from = Min(window->recompute_from, earliest_cycle(&pieces));
	if (pieces.count == 0)
		return;
	pfree(pieces.pieces);
	subscription_pieces(sub, &wide, list);
	for (int i = first; i < list->count; i++)
		list->pieces[i].cycle = piece_cycle(&list->pieces[i]);
	for (int i = first; i < list->count; i++)
	{
		Piece	   *piece = &list->pieces[i];

		piece->context = !in_window(piece, window) &&
			!(edited && goes_with_others(piece, list->pieces + first, list->count - first, window));
	}
}

/* Adds the pieces of a subscription to be looked at, with those that their amounts depend on. */
void
discounted_pieces(const Subscription *sub, const Window *window, PieceList *list)
{
	if (needs_whole_cycles(sub))
		add_cycles(sub, window, list);
	else
		subscription_pieces(sub, window, list);
}

/* Discounts the rated pieces of an account, which stand together by subscription; leaves context out. */
void
discount_list(PieceList *list)
{
	Piece	  **pieces = palloc(sizeof(Piece *) * Max(list->count, 1));
	int			count = 0;

	for (int first = 0, next; first < list->count; first = next)
	{
		const Subscription *sub = list->pieces[first].item->subscription;

		for (next = first; next < list->count && list->pieces[next].item->subscription == sub; next++)
			pieces[next - first] = &list->pieces[next];
		if (sub->ndiscounts > 0)
			discount_pieces(sub, pieces, next - first);
	}
	pfree(pieces);
	for (int i = 0; i < list->count; i++)
		if (!list->pieces[i].context)
			list->pieces[count++] = list->pieces[i];
	list->count = count;
}
