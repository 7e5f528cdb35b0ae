/*
 * difference.c
 *		Charges that should exist minus charges that do.
 *
 * doc/rules.md 4, P3.  Pure.  The unit is the key: an item's aligned period under
 * a version of its calendar.  Key by key is compared; what of that is due, and
 * which revisions it makes, is settled over all keys.
 */
#include "postgres.h"

#include "charge/difference.h"
#include "lib/search.h"

/*
 * The schedule version in the key of a piece; what has no range keeps its key,
 * whatever becomes of the calendar.
 */
int
piece_version(const Piece *piece)
{
	return has_range(piece->kind) ? piece->item->calendar->version : 1;
}

/* Is a live row of the key of a piece? */
bool
same_key(const LiveCharge *live, const Piece *piece)
{
	return live->item_id == piece->item->id && live->kind == piece->kind &&
		(counts_ranges(live->kind) || live->ordinal == piece->ordinal) &&
		live->period_no == piece->period_no && live->version == piece_version(piece);
}

static bool
same_live_key(const LiveCharge *a, const LiveCharge *b)
{
	return a->item_id == b->item_id && a->kind == b->kind &&
		(counts_ranges(a->kind) || a->ordinal == b->ordinal) &&
		a->period_no == b->period_no && a->version == b->version;
}

/* The live rows of an item among those of an account, which stand by item. */
const LiveCharge *
live_of_item(const LiveCharge *live, int nlive, int64 item_id, int *count)
{
	int			first = FIRST_OF_KEY(LiveCharge, item_id, live, nlive, item_id);
	int			next = first;

	while (next < nlive && live[next].item_id == item_id)
		next++;
	*count = next - first;
	return live + first;
}

/* Gives a key its live rows, copied, in time order: those of a piece or of another row. */
static void
collect_live(Key *key, const Piece *piece, const LiveCharge *of)
{
	Comparison *account = key->account;
	LiveCharge *rows;

	key->known = live_of_item(account->live, account->nlive, piece ? piece->item->id : of->item_id, &key->nknown);
	if (key->nknown == 0)
		return;
	rows = palloc(sizeof(LiveCharge) * key->nknown);
	for (int i = 0; i < key->nknown; i++)
	{
		const LiveCharge *live = &key->known[i];
		bool	   *taken = &account->taken[live - account->live];

		if (*taken || !(piece ? same_key(live, piece) : same_live_key(live, of)))
			continue;
		*taken = true;
		rows[key->nlive++] = *live;
	}
	key->live = rows;
}

static const Subscription *
find_subscription(const Comparison *account, int64 id)
{
	int			i = FIRST_OF_KEY(Subscription, id, account->subs, account->nsubs, id);

	return i < account->nsubs && account->subs[i].id == id ? &account->subs[i] : NULL;
}

/* The item of a live row, under the same version of the calendar if there is one. */
static const SubscriptionItem *
find_item(const Subscription *sub, const LiveCharge *live)
{
	const SubscriptionItem *item = NULL;

	for (int i = FIRST_OF_KEY(SubscriptionItem, id, sub->items, sub->nitems, live->item_id);
		 i < sub->nitems && sub->items[i].id == live->item_id; i++)
		if (item == NULL || sub->items[i].calendar->version == live->version)
			item = &sub->items[i];
	return item;
}

/* Does a minimum's period lie before what is compared? */
static bool
is_old_minimum(const Subscription *sub, const LiveCharge *live, const Window *window)
{
	for (int i = 0; i < sub->nminimums; i++)
	{
		const Minimum *minimum = &sub->minimums[i];

		if (live->ordinal != minimum->id && (minimum->longer || minimum->item_id != 0 || live->ordinal != sub->id))
			continue;
		for (int s = 0; s < minimum->nsegments; s++)
			if (minimum->segments[s].calendar->version == live->version &&
				schedule_start(&minimum->segments[s].schedule, live->period_no + 1) <= window->recompute_from)
				return true;
	}
	return false;
}

/* Does the timeline still know what a live row charges, only too old to be compared? */
static bool
is_untouched(const Subscription *sub, const SubscriptionItem *item, const LiveCharge *live, const Window *window)
{
	PieceList	pieces = {0};

	if (live->kind == KIND_MINIMUM)
		return is_old_minimum(sub, live, window);
	if (item == NULL)
		return false;
	if (has_range(live->kind))
		return item->calendar->version == live->version &&
			Max(schedule_start(&item->schedule, live->period_no + 1), live->end) <= window->recompute_from;
	once_pieces(item, &pieces);
	for (int i = 0; i < pieces.count; i++)
		if (pieces.pieces[i].ordinal == live->ordinal)
			return !in_window(&pieces.pieces[i], window);
	return false;
}

/* Live rows of keys that have no piece at all any more. */
static void
give_up_rest(Comparison *account, DeltaList *list)
{
	const Window *window = account->window;

	for (int i = 0; i < account->nlive; i++)
	{
		const LiveCharge *live = &account->live[i];
		Key			key = {.account = account, .window = window};

		if (account->taken[i] || is_nothing(live))
			continue;
		key.sub = find_subscription(account, live->subscription_id);
		if (key.sub == NULL)
			continue;
		key.item = find_item(key.sub, live);
		if (is_untouched(key.sub, key.item, live, window))
			continue;
		collect_live(&key, NULL, live);
		compare_key(&key, list);
	}
}

/* Takes the live rows down that minimums look for in all keys. */
static void
note_minimums(Comparison *account)
{
	for (int i = 0; i < account->nlive; i++)
	{
		if (account->live[i].kind != KIND_MINIMUM || is_nothing(&account->live[i]))
			continue;
		if (account->minimums == NULL)
			account->minimums = palloc(sizeof(LiveCharge *) * account->nlive);
		account->minimums[account->nminimums++] = &account->live[i];
	}
}

/*
 * Adds the differences of an account: pieces are those in the window, rated,
 * key by key in time order; live its live rows from the earliest edit on (none
 * where nothing was edited), by item and start.  Live rows of subscriptions
 * that are not given, by id, are left alone.
 */
void
charge_difference(const Subscription *subs, int nsubs, const Window *window,
				  const PieceList *pieces, const LiveCharge *live, int nlive, DeltaList *list)
{
	Comparison	account = {
		.subs = subs, .nsubs = nsubs, .window = window, .live = live, .nlive = nlive,
		.taken = nlive > 0 ? palloc0(sizeof(bool) * nlive) : NULL
	};

	list->early_from = DT_NOEND;
	note_minimums(&account);
	for (int first = 0, next; first < pieces->count; first = next)
	{
		Piece	   *piece = &pieces->pieces[first];
		Key			key = {
			.item = piece->item, .sub = piece->item->subscription, .window = window, .pieces = piece,
			.account = &account
		};

		for (next = first; next < pieces->count && pieces->pieces[next].item == piece->item &&
			 pieces->pieces[next].period_no == piece->period_no;)
			next++;
		key.npieces = next - first;
		collect_live(&key, piece, NULL);
		compare_key(&key, list);
	}
	if (nlive > 0)
		give_up_rest(&account, list);
	deltas_settle(list, window, live, nlive);
}
