/*
 * stretches.c
 *		The changes inside one aligned period, applied in time order.
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

/* The terms in force at an instant; NULL where the item is not live. */
static const Terms *
terms_at(const SubscriptionItem *item, TimestampTz at)
{
	int			i = item->nterms - 1;

	if (at < item->start || at >= item->end)
		return NULL;
	while (i > 0 && item->terms[i].from > at)
		i--;
	return &item->terms[i];
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
fold_add(Fold *fold, TimestampTz start, TimestampTz since, const Terms *terms)
{
	fold->stretches[fold->count++] = (Stretch)
	{
		.start = start, .since = since, .terms = terms
	};
}

/* The side that a change takes: a rise that of the price it goes to, a fall that of the price it leaves. */
static ProrationSide
side_of_change(const Fold *fold, const Terms *force, TimestampTz at, const Terms *terms)
{
	const SubscriptionItem *item = fold->item;
	int			order = num_cmp(level_of(terms), level_of(force));

	if (order < 0)
		return force->price->credit_side;
	if (order == 0)
		return SIDE_PRORATE;
	if (force == NULL && at == item->start && at == item->subscription->start && item->subscription->first_period_set)
		return item->subscription->first_period;
	return terms->price->charge_side;
}

/*
 * Applies a change inside the period: ignored until the period ends, counting
 * from its start, or from its instant (doc/rules.md 4, proration).  It is judged
 * against the level in force after the earlier changes.
 */
static void
fold_change(Fold *fold, TimestampTz at, const Terms *terms)
{
	const Terms *force = fold->stretches[fold->count - 1].terms;

	if (same_terms(force, terms))
		return;
	if (fold->item->price->aggregation != AGGREGATE_NONE)
	{
		fold_add(fold, at, at, terms);
		return;
	}
	switch (side_of_change(fold, force, at, terms))
	{
		case SIDE_NONE:
			break;
		case SIDE_FULL:
			fold->count = 0;
			fold_add(fold, fold->period_start, at, terms);
			break;
		case SIDE_PRORATE:
			fold_add(fold, at, at, terms);
			break;
	}
}

/* Is there anything to measure by the basis of its price? */
static bool
has_length(const Fold *fold, const Stretch *stretch)
{
	const Price *price = stretch->terms ? stretch->terms->price : NULL;

	return price == NULL || price->aggregation != AGGREGATE_NONE ||
		proration_length(price->basis, stretch->start, stretch->end, fold->item->schedule.tz) > 0;
}

/*
 * Leaves out what has no length, which makes no row and no line.
 * What follows it takes its place, so that the first piece of a period is due
 * as such; where the same terms lie on both sides, they are one piece.
 */
static void
fold_close(Fold *fold, TimestampTz period_end)
{
	TimestampTz since = DT_NOEND;
	int			count = 0;

	for (int i = 0; i < fold->count; i++)
	{
		Stretch		stretch = fold->stretches[i];

		stretch.end = i + 1 < fold->count ? fold->stretches[i + 1].start : period_end;
		since = Min(since, stretch.since);
		if (!has_length(fold, &stretch))
			continue;
		stretch.since = since;
		since = DT_NOEND;
		if (count > 0 && same_terms(fold->stretches[count - 1].terms, stretch.terms))
			fold->stretches[count - 1].end = stretch.end;
		else
			fold->stretches[count++] = stretch;
	}
	fold->count = count;
}

/* All stretches of an aligned period, in time order; the array is palloc'd. */
Fold
fold_period(const SubscriptionItem *item, TimestampTz period_start, TimestampTz period_end)
{
	Fold		fold = {.item = item, .period_start = period_start};

	fold.stretches = palloc(sizeof(Stretch) * (item->nterms + 3));
	fold_add(&fold, period_start, period_start, terms_at(item, period_start));
	if (item->start > period_start && item->start < period_end)
		fold_change(&fold, item->start, terms_at(item, item->start));
	for (int i = 1; i < item->nterms; i++)
	{
		TimestampTz at = item->terms[i].from;

		if (at > Max(period_start, item->start) && at < Min(period_end, item->end))
			fold_change(&fold, at, &item->terms[i]);
	}
	if (item->end > Max(period_start, item->start) && item->end < period_end)
		fold_change(&fold, item->end, NULL);
	fold_close(&fold, period_end);
	return fold;
}
