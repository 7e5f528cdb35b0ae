/*
 * discount.c
 *		Discounts and increments of lines, cycle by cycle.
 *
 * doc/rules.md 5.  Pure.  Of each piece first those of its item, then those of
 * its subscription: all of one level are taken of the same subtotal, each
 * rounded; what is taken off never exceeds the subtotal, and what is added
 * comes after.  A fixed one is used up once per cycle, in the order in which
 * the pieces become due; what no piece takes lapses.
 */
#include "postgres.h"

#include "charge/discount.h"

/* A discount at work: what of its fixed amount is left in the present cycle. */
typedef struct Purse
{
	const Discount *discount;
	int64		left;
} Purse;

/*
 * Start of the cycle to which a piece belongs; a first period that is charged
 * with the next belongs to the same.
 */
TimestampTz
piece_cycle(const Piece *piece)
{
	const ScheduleVersion *calendar = piece->item->calendar;
	const Schedule *cycles = &calendar->cycles;
	TimestampTz first = piece->item->subscription->start;
	TimestampTz cycle = piece_cycle_start(piece);
	int64		n;

	if (calendar->first_period != FIRST_JOIN || first < calendar->from || first >= calendar->to)
		return cycle;
	n = schedule_period_at(cycles, first);
	return schedule_start(cycles, n) < first && schedule_start(cycles, n + 1) == cycle ? first : cycle;
}

/* By cycle, then in the order in which fixed amounts are used up. */
static int
compare_pieces(const void *x, const void *y)
{
	const Piece *a = *(Piece *const *) x;
	const Piece *b = *(Piece *const *) y;

#define COMPARE(p, q) \
	do { if ((p) != (q)) return (p) < (q) ? -1 : 1; } while (0)
	COMPARE(a->cycle, b->cycle);
	COMPARE(a->due, b->due);
	COMPARE(a->item->id, b->item->id);
	COMPARE(a->start, b->start);
	return 0;
}

/* Does the discount work on the piece, at the item's or the subscription's level? */
static bool
works_on(const Discount *discount, const Piece *piece, bool item_level)
{
	return piece->cycle >= discount->from && piece->cycle < discount->to &&
		(item_level ? discount->item_id == piece->item->id : discount->item_id == 0);
}

/* What the percentages of a kind make of the subtotal, each rounded. */
static int64
percentages(const Piece *piece, const Purse *purses, int count, bool item_level, bool increment, int64 subtotal)
{
	int64		sum = 0;

	for (int i = 0; i < count; i++)
	{
		const Discount *discount = purses[i].discount;

		if (discount->percent != NULL && discount->increment == increment && works_on(discount, piece, item_level))
			sum = amount_add(sum, amount_percent(subtotal, discount->percent));
	}
	return sum;
}

/* Takes what is left of fixed amounts of a kind, no more than limit. */
static int64
take_fixed(const Piece *piece, Purse *purses, int count, bool item_level, bool increment, int64 limit)
{
	int64		sum = 0;

	for (int i = 0; i < count; i++)
	{
		const Discount *discount = purses[i].discount;
		int64		part = Min(purses[i].left, limit - sum);

		if (discount->percent != NULL || discount->increment != increment || !works_on(discount, piece, item_level))
			continue;
		purses[i].left -= part;
		sum += part;
	}
	return sum;
}

/* Discounts, then increments of one level, all of the same subtotal. */
static void
discount_level(Piece *piece, Purse *purses, int count, bool item_level)
{
	Money	   *money = &piece->money;
	int64		subtotal = money->amount;
	int64		discount = Min(percentages(piece, purses, count, item_level, false, subtotal), subtotal);
	int64		increment = percentages(piece, purses, count, item_level, true, subtotal);

	discount += take_fixed(piece, purses, count, item_level, false, subtotal - discount);
	increment = amount_add(increment, take_fixed(piece, purses, count, item_level, true, PG_INT64_MAX));
	money->discount = amount_add(money->discount, discount);
	money->increment = amount_add(money->increment, increment);
	money->amount = amount_add(subtotal - discount, increment);
}

static void
fill_purses(const Subscription *sub, Purse *purses)
{
	for (int i = 0; i < sub->ndiscounts; i++)
		purses[i] = (Purse)
	{
		.discount = &sub->discounts[i], .left = sub->discounts[i].amount
	};
}

/*
 * Sets the discounts and increments of one level of a subscription's rated
 * pieces, which are all of the list; where there are fixed amounts, all pieces
 * of their cycles.
 */
void
discount_pieces(const Subscription *sub, DiscountLevel level, PieceList *list)
{
	Purse	   *purses = palloc(sizeof(Purse) * Max(sub->ndiscounts, 1));
	Piece	  **pieces = palloc(sizeof(Piece *) * Max(list->count, 1));

	for (int i = 0; i < list->count; i++)
	{
		pieces[i] = &list->pieces[i];
		pieces[i]->cycle = piece_cycle(pieces[i]);
	}
	qsort(pieces, list->count, sizeof(Piece *), compare_pieces);
	for (int i = 0; i < list->count && sub->ndiscounts > 0; i++)
	{
		if (i == 0 || pieces[i]->cycle != pieces[i - 1]->cycle)
			fill_purses(sub, purses);
		discount_level(pieces[i], purses, sub->ndiscounts, level == DISCOUNT_OF_ITEM);
	}
	pfree(purses);
	pfree(pieces);
}
