/*
 * cycles.c
 *		The pieces of whole cycles, where amounts depend on them.
 *
 * doc/rules.md 5.  Pure.  A fixed discount is used up over the pieces of a cycle,
 * and a minimum completes those of its period, so a piece in the window is rated
 * among all of these, and where an edit touches one of them all are compared.  The others are context: they
 * are rated and discounted, but neither compared nor charged.
 */
#include "postgres.h"

#include "charge/discount.h"
#include "charge/minimum.h"

/* Do amounts of the subscription depend on whole cycles? */
bool
needs_whole_cycles(const Subscription *sub)
{
	for (int i = 0; i < sub->ndiscounts; i++)
		if (sub->discounts[i].percent == NULL)
			return true;
	return sub->nminimums > 0;
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

static int
compare_cycles(const void *a, const void *b)
{
	TimestampTz x = *(const TimestampTz *) a;
	TimestampTz y = *(const TimestampTz *) b;

	return x < y ? -1 : x > y;
}

/* The cycles of which an edit touches a piece, in order; palloc'd. */
static TimestampTz *
touched_cycles(const Piece *pieces, int count, const Window *window, int *ncycles)
{
	TimestampTz *cycles = palloc(sizeof(TimestampTz) * Max(count, 1));

	*ncycles = 0;
	for (int i = 0; i < count; i++)
		if ((has_periods(pieces[i].item) || pieces[i].kind == KIND_INSTALMENT) &&
			piece_latest(&pieces[i]) > window->recompute_from)
			cycles[(*ncycles)++] = pieces[i].cycle;
	qsort(cycles, *ncycles, sizeof(TimestampTz), compare_cycles);
	return cycles;
}

/*
 * Marks the pieces of a subscription that are only context: neither in the
 * window themselves nor, of an edited account, compared because of another one
 * of their period or their cycle.  Pieces of one period stand together.
 */
static void
mark_context(const Subscription *sub, Piece *pieces, int count, const Window *window)
{
	bool		edited = window->recompute_from < DT_NOEND;
	int			ncycles;
	TimestampTz *cycles = touched_cycles(pieces, count, window, &ncycles);

	for (int first = 0, next; first < count; first = next)
	{
		bool		any = false;

		for (next = first; next < count && pieces[next].item == pieces[first].item &&
			 pieces[next].period_no == pieces[first].period_no; next++)
			any = any || in_window(&pieces[next], window);
		for (int i = first; i < next; i++)
			pieces[i].context = !in_window(&pieces[i], window) &&
				!(edited && (any || minimums_reach(sub, pieces[i].cycle, window->recompute_from) ||
							 bsearch(&pieces[i].cycle, cycles, ncycles, sizeof(TimestampTz), compare_cycles) != NULL));
	}
	pfree(cycles);
}

/* Adds all pieces of the cycles that have one in the window; those that only help to rate are context. */
static void
add_cycles(const Subscription *sub, const Window *window, PieceList *list)
{
	PieceList	pieces = {0};
	Window		wide = *window;
	TimestampTz low;
	int			first = list->count;

	subscription_pieces(sub, window, &pieces);
	low = minimums_from(sub, window, earliest_cycle(&pieces));
	if (low == DT_NOEND)
		return;
	wide.recompute_from = Min(window->recompute_from, low);
	subscription_pieces(sub, &wide, list);
	for (int i = first; i < list->count; i++)
		list->pieces[i].cycle = piece_cycle(&list->pieces[i]);
	mark_context(sub, list->pieces + first, list->count - first, window);
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

/* Discounts and minimums of one subscription, whose pieces are all of the list. */
static void
adjust(const Subscription *sub, const Window *window, int minor_units, PieceList *list)
{
	discount_pieces(sub, DISCOUNT_OF_ITEM, list);
	minimum_pieces(sub, MINIMUM_OF_ITEM, window, minor_units, list);
	discount_pieces(sub, DISCOUNT_OF_SUBSCRIPTION, list);
	minimum_pieces(sub, MINIMUM_OF_SUBSCRIPTION, window, minor_units, list);
}

/*
 * Discounts the rated pieces of an account, which stand together by
 * subscription, adds what minimums miss and leaves context out.
 */
void
adjust_pieces(const Subscription *subs, int nsubs, const Window *window, int minor_units, PieceList *list)
{
	PieceList	adjusted = {0};
	PieceList	pieces = {0};
	int			next = 0;

	for (int s = 0; s < nsubs; s++)
	{
		pieces.count = 0;
		while (next < list->count && list->pieces[next].item->subscription == &subs[s])
			piece_list_add(&pieces, &list->pieces[next++]);
		if (subs[s].ndiscounts > 0 || subs[s].nminimums > 0)
			adjust(&subs[s], window, minor_units, &pieces);
		for (int i = 0; i < pieces.count; i++)
			if (!pieces.pieces[i].context)
				piece_list_add(&adjusted, &pieces.pieces[i]);
	}
	*list = adjusted;
}
