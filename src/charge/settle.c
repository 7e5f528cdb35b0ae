/*
 * settle.c
 *		Which differences are written now, and as which revisions.
 *
 * doc/rules.md 4, P7.  Pure.  Keys are compared one by one; only here it is seen
 * that a range passes from one key to another.
 */
#include "postgres.h"

#include "charge/difference.h"

/* Does the charge cover something that the correction frees under another key of the same item? */
static bool
covers(const Delta *charge, const Delta *correction)
{
	const LiveCharge *live = correction->live;

	return charge->kind == correction->kind && has_range(charge->kind) &&
		(charge->version != correction->version || charge->period_no != correction->period_no) &&
		charge->start < live->end && charge->end > live->start;
}

/* The differences of one item, in the order of the list. */
typedef struct ItemDeltas
{
	DeltaList  *list;
	const DeltaPlace *places;
	int			count;
} ItemDeltas;

static Delta *
delta_at(const ItemDeltas *group, int i)
{
	return &group->list->deltas[group->places[i].place];
}

static int
compare_places(const void *a, const void *b)
{
	const DeltaPlace *x = a;
	const DeltaPlace *y = b;

	if (x->item_id != y->item_id)
		return x->item_id < y->item_id ? -1 : 1;
	return x->place - y->place;
}

/* The places of all differences, by item; palloc'd. */
DeltaPlace *
deltas_by_item(const DeltaList *list)
{
	DeltaPlace *places = palloc(sizeof(DeltaPlace) * Max(list->count, 1));

	for (int i = 0; i < list->count; i++)
		places[i] = (DeltaPlace)
	{
		.item_id = list->deltas[i].item_id, .place = i
	};
	qsort(places, list->count, sizeof(DeltaPlace), compare_places);
	return places;
}

/* The group that begins at a place. */
static ItemDeltas
group_at(DeltaList *list, const DeltaPlace *places, int first)
{
	int			next = first;

	while (next < list->count && places[next].item_id == places[first].item_id)
		next++;
	return (ItemDeltas)
	{
		.list = list, .places = places + first, .count = next - first
	};
}

/* What the key of a correction that is written now charges anew waits for it no longer. */
static bool
release(const ItemDeltas *group, const Delta *correction, const Window *window)
{
	bool		any = false;

	for (int i = 0; i < group->count; i++)
	{
		Delta	   *charge = delta_at(group, i);

		if (charge->correction || charge->due <= window->horizon || charge->piece->due > window->horizon ||
			charge->kind != correction->kind ||
			charge->version != correction->version || charge->period_no != correction->period_no)
			continue;
		charge->due = charge->piece->due;
		any = true;
	}
	return any;
}

/*
 * A correction that frees a range which a charge of this run covers is written
 * with that charge, whatever its due date.
 */
static void
pull_forward(const ItemDeltas *group, const Window *window)
{
	bool		released = false;

	for (int c = 0; c < group->count; c++)
	{
		const Delta *charge = delta_at(group, c);

		if (charge->correction || charge->due > window->horizon)
			continue;
		for (int i = 0; i < group->count; i++)
		{
			Delta	   *correction = delta_at(group, i);

			if (!correction->correction || correction->due <= charge->due || !covers(charge, correction))
				continue;
			correction->due = charge->due;
			released = release(group, correction, window) || released;
		}
	}
	if (released)
		pull_forward(group, window);
}

/* Leaves out what is not due; the account has to be looked at again. */
static void
drop_later(DeltaList *list, const Window *window)
{
	int			count = 0;

	for (int i = 0; i < list->count; i++)
	{
		if (list->deltas[i].due <= window->horizon)
			list->deltas[count++] = list->deltas[i];
		else
			list->postponed = true;
	}
	list->count = count;
}

/* The last revision of what begins at an instant. */
typedef struct Chain
{
	int			revision;		/* -1: none yet */
	bool		nothing;		/* nothing is left of it */
	int64		granted;
} Chain;

static void
note_revision(Chain *chain, int revision, bool nothing, int64 granted)
{
	if (revision > chain->revision)
		*chain = (Chain)
	{
		.revision = revision, .nothing = nothing, .granted = granted
	};
}

/*
 * The revisions, in whatever key, of the item's charge that begins at an
 * instant; rows of -1 are still to come.  live are the item's.
 */
static Chain
chain_at(const ItemDeltas *group, const LiveCharge *live, int nlive, const Delta *delta,
		 int64 ordinal, TimestampTz start)
{
	Chain		chain = {.revision = -1, .nothing = true};

	for (int i = 0; i < nlive; i++)
		if (live[i].kind == delta->kind && live[i].ordinal == ordinal && live[i].start == start)
			note_revision(&chain, live[i].revision, is_nothing(&live[i]), live[i].granted);
	for (int i = 0; i < group->count; i++)
	{
		const Delta *other = delta_at(group, i);

		if (other->kind != delta->kind || other->ordinal != ordinal)
			continue;
		for (int k = 0; k < other->nrows; k++)
		{
			const ChargeRow *row = &other->rows[k];

			if (row->start == start)
				note_revision(&chain, row->revision, row->end == start, row->granted);
		}
	}
	return chain;
}

/*
 * Numbers a row.  What begins where something was granted for ever, that stays
 * as it is, begins revisions of its own.
 */
static void
number_row(const ItemDeltas *group, const LiveCharge *live, int nlive, Delta *delta, ChargeRow *row)
{
	Chain		chain = chain_at(group, live, nlive, delta, delta->ordinal, row->start);

	while (!delta->correction && counts_ranges(delta->kind) && !chain.nothing)
		chain = chain_at(group, live, nlive, delta, ++delta->ordinal, row->start);
	row->revision = chain.revision + 1;
	row->granted = chain.granted;
}

/*
 * Numbers the revisions of an item, corrections first: a range that gets other
 * terms, or another key, is first revised to nothing, then charged by a further
 * revision.
 */
static void
number_revisions(const ItemDeltas *group, const LiveCharge *live, int nlive)
{
	live = live_of_item(live, nlive, group->places[0].item_id, &nlive);
	for (int d = 0; d < group->count; d++)
		for (int k = 0; k < delta_at(group, d)->nrows; k++)
			delta_at(group, d)->rows[k].revision = -1;
	for (int charges = 0; charges <= 1; charges++)
		for (int d = 0; d < group->count; d++)
		{
			Delta	   *delta = delta_at(group, d);

			for (int k = 0; k < delta->nrows && delta->correction != charges; k++)
				number_row(group, live, nlive, delta, &delta->rows[k]);
		}
}

/*
 * Ends the comparison of an account: differences that belong together come
 * together, what is not due is left out, and what remains gets its revisions,
 * each item for itself.  Without live rows every row is the first of its range.
 */
void
deltas_settle(DeltaList *list, const Window *window, const LiveCharge *live, int nlive)
{
	DeltaPlace *places = nlive > 0 ? deltas_by_item(list) : NULL;
	ItemDeltas	group;

	for (int i = 0; places != NULL && i < list->count; i += group.count)
	{
		group = group_at(list, places, i);
		pull_forward(&group, window);
	}
	drop_later(list, window);
	places = nlive > 0 ? deltas_by_item(list) : NULL;
	for (int i = 0; places != NULL && i < list->count; i += group.count)
	{
		group = group_at(list, places, i);
		number_revisions(&group, live, nlive);
	}
}
