/*
 * minimum.c
 *		Least amounts: what is missing in a period becomes a charge.
 *
 * doc/rules.md 5.  Pure.  A minimum has periods like an item in arrears; what the
 * charges whose periods lie in one of them miss is due at its end.  It shrinks
 * with the days of service, and is taxed as the charges that it completes.
 */
#include "postgres.h"

#include "charge/minimum.h"
#include "lib/num.h"

/* A period of a minimum that is to be looked at. */
typedef struct Due
{
	const Minimum *minimum;
	Piece		piece;			/* without price and amount */
	int64		least;			/* after proration */
} Due;

/* What is completed under one tax class. */
typedef struct TaxGroup
{
	const Price *price;			/* of its first charge */
	int64		item_id;
	int64		amount;
} TaxGroup;

/* The price under which a minimum is charged. */
Price *
minimum_price(const char *tax, bool inclusive)
{
	Price	   *price = palloc0(sizeof(Price));

	price->name = "Minimum";
	price->tax = pstrdup(tax);
	price->tax_inclusive = inclusive;
	return price;
}

/* Days of the stretch that are taken by skipped cycles; a minimum of a cycle has no skipped period. */
static int64
skipped_days(const Minimum *minimum, const Piece *piece)
{
	const ScheduleVersion *calendar = subscription_calendar_at(piece->item->subscription, piece->cut_start);
	int64		days = 0;

	for (int i = 0; i < calendar->nskipped && minimum->longer; i++)
	{
		TimestampTz from = Max(piece->start, schedule_start(&calendar->cycles, calendar->skipped[i]));
		TimestampTz to = Min(piece->end, schedule_start(&calendar->cycles, calendar->skipped[i] + 1));

		if (from < to)
			days += proration_length(BASIS_DAY, from, to, piece->item->schedule.tz);
	}
	return days;
}

/* The least amount of a period, of which stretches are live. */
static int64
least_amount(const Minimum *minimum, const Piece *stretches, int count, int minor_units)
{
	const Piece *first = &stretches[0];
	pg_tz	   *tz = first->item->schedule.tz;
	int64		full = proration_length(BASIS_DAY, first->full ? first->cut_start : first->period_start,
										first->full ? first->cut_end : first->period_end, tz);
	int64		days = 0;

	for (int i = 0; i < count; i++)
		days += (stretches[i].whole ? full : proration_length(BASIS_DAY, stretches[i].start, stretches[i].end, tz)) -
			skipped_days(minimum, &stretches[i]);
	if (days <= 0)
		return 0;
	if (!minimum->prorated || days >= full)
		return minimum->amount;
	return amount_prorate(num_from_int(minimum->amount), days, full, 0);
}

/* Period n of a segment as one piece, from its first live instant's period to its last; false: never live in it. */
static bool
period_of(const Minimum *minimum, const SubscriptionItem *segment, int64 n, int minor_units, PieceList *scratch, Due *due)
{
	scratch->count = 0;
	period_pieces(segment, n, scratch);
	if (scratch->count == 0)
		return false;
	due->minimum = minimum;
	due->least = least_amount(minimum, scratch->pieces, scratch->count, minor_units);
	due->piece = scratch->pieces[scratch->count - 1];
	due->piece.start = scratch->pieces[0].start;
	due->piece.whole = false;
	due->piece.quantity = NULL;
	return true;
}

/* The periods of a minimum that lie in the window; scratch's are two lists. */
static void
add_due(const Minimum *minimum, const Window *window, int minor_units, PieceList *scratch, Due **dues, int *count)
{
	for (int s = 0; s < minimum->nsegments; s++)
	{
		const SubscriptionItem *segment = &minimum->segments[s];
		int64		last = PG_INT64_MIN;

		scratch[0].count = 0;
		item_pieces(segment, window, &scratch[1], &scratch[0]);
		for (int i = 0; i < scratch[0].count; i++)
		{
			Due			due;

			if (scratch[0].pieces[i].period_no == last)
				continue;
			last = scratch[0].pieces[i].period_no;
			if (!period_of(minimum, segment, last, minor_units, &scratch[1], &due))
				continue;
			*dues = *dues == NULL ? palloc(sizeof(Due)) : repalloc(*dues, sizeof(Due) * (*count + 1));
			(*dues)[(*count)++] = due;
		}
	}
}

/* The start of a minimum's period at an instant; the instant itself where it has none there. */
static TimestampTz
period_start_at(const Minimum *minimum, TimestampTz at)
{
	for (int s = 0; s < minimum->nsegments; s++)
	{
		const SubscriptionItem *segment = &minimum->segments[s];

		if (at >= segment->from && at < segment->to)
			return Min(at, Max(schedule_start(&segment->schedule, schedule_period_at(&segment->schedule, at)),
							   segment->calendar->from));
	}
	return at;
}

/* The start of the earliest period of a minimum that lies around an instant, or around the start of another. */
TimestampTz
minimums_start(const Subscription *sub, TimestampTz at)
{
	TimestampTz before;

	do
	{
		before = at;
		for (int i = 0; i < sub->nminimums; i++)
			at = Min(at, period_start_at(&sub->minimums[i], at));
	} while (at < before);
	return at;
}

/*
 * From when on the pieces of a subscription matter, where those from low on do
 * and minimums are to be looked at.
 */
TimestampTz
minimums_from(const Subscription *sub, const Window *window, TimestampTz low)
{
	PieceList	scratch[2] = {0};
	Due		   *dues = NULL;
	int			count = 0;

	for (int i = 0; i < sub->nminimums; i++)
		add_due(&sub->minimums[i], window, 0, scratch, &dues, &count);
	for (int i = 0; i < count; i++)
		low = Min(low, dues[i].piece.cut_start);
	return minimums_start(sub, low);
}

/* Does a cycle begin with a period of an item's minimum that ends after an edit? */
bool
minimums_reach(const Subscription *sub, TimestampTz cycle, TimestampTz recompute_from)
{
	for (int i = 0; i < sub->nminimums; i++)
	{
		const Minimum *minimum = &sub->minimums[i];

		for (int s = 0; s < minimum->nsegments && minimum->item_id != 0; s++)
		{
			const Schedule *periods = &minimum->segments[s].schedule;

			if (cycle >= minimum->segments[s].from && cycle < minimum->segments[s].to &&
				schedule_start(periods, schedule_period_at(periods, cycle) + 1) > recompute_from)
				return true;
		}
	}
	return false;
}

/* Does a charge count towards a minimum: does its period lie in the minimum's? */
static bool
counts(const Due *due, const Piece *piece)
{
	if (piece->kind != KIND_RECURRING && piece->kind != KIND_USAGE && piece->kind != KIND_MINIMUM)
		return false;
	if (due->minimum->item_id != 0 && (piece->item->id != due->minimum->item_id || piece->kind == KIND_MINIMUM))
		return false;
	return piece->cut_start >= due->piece.cut_start && piece->cut_end <= due->piece.cut_end;
}

/* The group that a charge belongs to: that of its tax class, or of its item where that changed its class. */
static int
group_of(const TaxGroup *groups, int ngroups, const Piece *piece)
{
	int			g = 0;

	while (g < ngroups && (groups[g].price->tax_inclusive != piece->price->tax_inclusive ||
						   strcmp(groups[g].price->tax, piece->price->tax) != 0))
		g++;
	for (int i = 0; i < ngroups && g == ngroups; i++)
		if (groups[i].item_id == piece->item->id)
			g = i;
	return g;
}

/* The tax classes of a period's charges, with what is charged; of none, that of the first item. */
static TaxGroup *
tax_groups(const Due *due, const Piece *pieces, int count, int *ngroups)
{
	TaxGroup   *groups = palloc(sizeof(TaxGroup) * (count + 1));

	*ngroups = 0;
	for (int i = 0; i < count; i++)
	{
		const Piece *piece = &pieces[i];
		int			g;

		if (!counts(due, piece))
			continue;
		g = group_of(groups, *ngroups, piece);
		if (g == *ngroups)
			groups[(*ngroups)++] = (TaxGroup)
		{
			.price = piece->price, .item_id = piece->item->id
		};
		groups[g].amount = amount_add(groups[g].amount, piece->money.amount);
	}
	if (*ngroups == 0)
		groups[(*ngroups)++] = (TaxGroup)
	{
		.price = due->piece.item->subscription->items[0].price, .item_id = due->piece.item->subscription->items[0].id
	};
	return groups;
}

/* Under a class of its own, or that of the only item, a minimum is one charge. */
static void
join_groups(const Minimum *minimum, TaxGroup *groups, int *ngroups)
{
	if (minimum->tax == NULL && minimum->item_id == 0)
		return;
	for (int g = 1; g < *ngroups; g++)
		groups[0].amount = amount_add(groups[0].amount, groups[g].amount);
	*ngroups = 1;
}

/* Adds one charge of a minimum; whole: it is the only one of its period. */
static void
add_charge(const Due *due, const TaxGroup *group, bool whole, int64 amount, PieceList *list)
{
	const Minimum *minimum = due->minimum;
	SubscriptionItem *item = palloc(sizeof(SubscriptionItem));
	Piece		piece = due->piece;

	*item = *piece.item;
	item->id = minimum->item_id != 0 ? minimum->item_id : whole ? 0 : group->item_id;
	item->price = piece.price = minimum_price(minimum->tax ? minimum->tax : group->price->tax, group->price->tax_inclusive);
	piece.item = item;
	piece.ordinal = minimum->item_id == 0 && whole && !minimum->longer ? item->subscription->id : minimum->id;
	piece.money = money_of(amount);
	piece_list_add(list, &piece);
}

/* Adds what a period misses, by tax class; context unless it is compared. */
static void
complete(Due *due, const Window *window, PieceList *list)
{
	int			count = list->count;
	int			ngroups;
	TaxGroup   *groups = tax_groups(due, list->pieces, count, &ngroups);
	int64	   *weights = palloc(sizeof(int64) * ngroups);
	int64	   *parts = palloc(sizeof(int64) * ngroups);
	int64		missing = due->least;
	bool		touched = false;

	join_groups(due->minimum, groups, &ngroups);
	for (int g = 0; g < ngroups; g++)
	{
		weights[g] = groups[g].amount;
		missing = amount_sub(missing, weights[g]);
	}
	for (int i = 0; i < count; i++)
		touched = touched || (!list->pieces[i].context && counts(due, &list->pieces[i]));
	due->piece.context = !in_window(&due->piece, window) && !(touched && window->recompute_from < DT_NOEND);
	amount_split(Max(missing, 0), weights, ngroups, parts);
	for (int g = 0; g < ngroups; g++)
		add_charge(due, &groups[g], ngroups == 1, parts[g], list);
}

/*
 * Adds the charges of a subscription's minimums to its rated pieces, which are
 * all of the list.  What is not missing is an amount of zero.
 */
void
minimum_pieces(const Subscription *sub, MinimumLevel level, const Window *window, int minor_units, PieceList *list)
{
	PieceList	scratch[2] = {0};
	Due		   *dues = NULL;
	int			count = 0;
	Window		wide = *window;

	for (int i = 0; i < list->count; i++)
		wide.recompute_from = Min(wide.recompute_from, list->pieces[i].cut_start);
	for (int i = 0; i < sub->nminimums; i++)
		if ((sub->minimums[i].item_id != 0) == (level == MINIMUM_OF_ITEM))
			add_due(&sub->minimums[i], &wide, minor_units, scratch, &dues, &count);
	for (int i = 0; i < count; i++)
		complete(&dues[i], window, list);
}
