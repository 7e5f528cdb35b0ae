/*
 * stretches.c
 *		The changes inside one period, applied in time order.
 *
 * doc/rules.md 4, proration.  Each change is ignored until the period ends, counts
 * from its start or from its instant; what is left is measured and rated by
 * pieces.c.  Pure.
 */
#include "postgres.h"

#include "charge/stretches.h"
#include "lib/num.h"

/* Are both absent, or the same number? */
bool
same_numeric(Numeric a, Numeric b)
{
	return a == NULL || b == NULL ? a == b : num_cmp(a, b) == 0;
}

static const Terms *
unless_dead(const Terms *terms)
{
	return terms->price == NULL ? NULL : terms;
}

/* The terms in force at an instant; NULL where the item is not live. */
const Terms *
terms_at(const SubscriptionItem *item, TimestampTz at)
{
	int			i = item->nterms - 1;

	if (at < item->start || at >= item->end)
		return NULL;
	while (i > 0 && item->terms[i].from > at)
		i--;
	return unless_dead(&item->terms[i]);
}

static bool
same_terms(const Terms *a, const Terms *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return a == b || (a->price == b->price && same_numeric(a->quantity, b->quantity));
}

/* The charge of a whole period; zero where the item is not live. */
static Numeric
level_of(const Terms *terms)
{
	return terms == NULL ? num_from_int(0) : scheme_charge(terms->price->scheme, terms->quantity);
}

static void
fold_add(Fold *fold, TimestampTz start, TimestampTz since, const Terms *terms, bool full)
{
	fold->stretches[fold->count++] = (Stretch)
	{
		.start = start, .since = since, .terms = terms, .full = full
	};
}

/* The side that a rise takes: that of the price it goes to, or of the first period. */
static ProrationSide
side_of_rise(const Fold *fold, const Terms *force, TimestampTz at, const Terms *terms)
{
	const SubscriptionItem *item = fold->item;

	if (force == NULL && at == item->start && at == item->subscription->start)
		switch (item->calendar->first_period)
		{
			case FIRST_FREE:
				return SIDE_NONE;
			case FIRST_FULL:
				return SIDE_FULL;
			case FIRST_JOIN:
				return SIDE_PRORATE;
			case FIRST_PRORATE:
				break;
		}
	Assert(terms != NULL);
	return terms->price->charge_side;
}

/*
 * Applies a change inside the period: ignored until the period ends, counting
 * from its start, or from its instant (doc/rules.md 4, proration).  It is judged
 * against the level in force after the earlier changes: a fall takes the side
 * of the price that it leaves.
 */
static void
fold_change(Fold *fold, TimestampTz at, const Terms *terms)
{
	const Stretch *last = &fold->stretches[fold->count - 1];
	const Terms *force = last->terms;
	ProrationSide side = SIDE_PRORATE;
	bool		full = false;

	if (same_terms(force, terms))
		return;
	if (fold->item->price->aggregation == AGGREGATE_NONE)
	{
		int			order = num_cmp(level_of(terms), level_of(force));

		if (order != 0)
			side = order > 0 ? side_of_rise(fold, force, at, terms) : force->price->credit_side;
		full = last->full && (order == 0 || side == SIDE_FULL);
		full = full || (order > 0 && side == SIDE_FULL);
	}
	if (side == SIDE_NONE)
		return;
	if (side == SIDE_FULL)
		fold->count = 0;
	fold_add(fold, side == SIDE_FULL ? fold->start : at, at, terms, full);
}

/* Is there anything to measure by the basis of its price? */
static bool
has_length(const Fold *fold, const Stretch *stretch)
{
	const Price *price = stretch->terms ? stretch->terms->price : NULL;

	return price == NULL || price->aggregation != AGGREGATE_NONE ||
		proration_length(price->basis, stretch->start, stretch->end, fold->item->schedule.tz) > 0;
}

/* Does the stretch go on with the terms of the last of the first count ones? */
static bool
goes_on(const Fold *fold, int count, const Stretch *stretch)
{
	return count > 0 && fold->stretches[count - 1].full == stretch->full &&
		same_terms(fold->stretches[count - 1].terms, stretch->terms);
}

/*
 * Leaves out what has no length, which makes no row and no line.
 * What follows it takes its place, so that the first piece of a period is due
 * as such; where the same terms lie on both sides, they are one piece, of
 * metered items also where an interruption lies between.
 */
static void
fold_close(Fold *fold, TimestampTz end)
{
	bool		metered = fold->item->price->aggregation != AGGREGATE_NONE;
	TimestampTz since = DT_NOEND;
	int			count = 0;

	for (int i = 0; i < fold->count; i++)
	{
		Stretch		stretch = fold->stretches[i];

		stretch.end = i + 1 < fold->count ? fold->stretches[i + 1].start : end;
		since = Min(since, stretch.since);
		if (!has_length(fold, &stretch))
			continue;
		stretch.since = since;
		since = DT_NOEND;
		if (metered && stretch.terms != NULL && count > 1 && fold->stretches[count - 1].terms == NULL &&
			goes_on(fold, count - 1, &stretch))
			count--;
		if (goes_on(fold, count, &stretch))
			fold->stretches[count - 1].end = stretch.end;
		else
			fold->stretches[count++] = stretch;
	}
	fold->count = count;
}

/*
 * All stretches of a period, or of what the calendar's version leaves of it, in
 * time order, as the changes until an instant make them; the array is palloc'd.
 */
Fold
fold_period(const SubscriptionItem *item, TimestampTz start, TimestampTz end, TimestampTz until)
{
	Fold		fold = {.item = item, .start = start};

	fold.stretches = palloc(sizeof(Stretch) * (item->nterms + 3));
	fold_add(&fold, start, start, terms_at(item, start), false);
	if (item->start > start && item->start < end && item->start <= until)
		fold_change(&fold, item->start, terms_at(item, item->start));
	for (int i = 1; i < item->nterms; i++)
	{
		TimestampTz at = item->terms[i].from;

		if (at > Max(start, item->start) && at < Min(end, item->end) && at <= until)
			fold_change(&fold, at, unless_dead(&item->terms[i]));
	}
	if (item->end > Max(start, item->start) && item->end < end && item->end <= until)
		fold_change(&fold, item->end, NULL);
	fold_close(&fold, end);
	return fold;
}
