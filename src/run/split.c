/*
 * split.c
 *		Pieces cut where a tax rate changes inside them (doc/rules.md 6, split).
 *
 * Only tax classes with tax point split do that.  Tax is not part of the terms
 * of a charge: what was charged already keeps the cuts it was charged with,
 * whatever rates were entered since.
 */
#include "postgres.h"

#include "run/account_batch.h"

/* Does a live row charge something of the piece, on its terms? */
static bool
charges(const LiveCharge *live, const Piece *piece)
{
	return same_key(live, piece) && live->price == piece->price && live->end > live->start &&
		live->start < piece->end && live->end > piece->start &&
		(piece->price->aggregation != AGGREGATE_NONE || same_numeric(live->quantity, piece->quantity));
}

/* Is anything of the piece charged already? */
static bool
is_charged(const LiveCharge *live, int nlive, const Piece *piece)
{
	for (int i = 0; i < nlive; i++)
		if (charges(&live[i], piece))
			return true;
	return false;
}

/* Does something that is charged of the piece end at an instant? */
static bool
ends_at(const LiveCharge *live, int nlive, const Piece *piece, TimestampTz at)
{
	for (int i = 0; i < nlive; i++)
		if (live[i].end == at && charges(&live[i], piece))
			return true;
	return false;
}

/* The first cut after the given instant in what is charged of the piece; live are its item's. */
static TimestampTz
next_charged_start(const LiveCharge *live, int nlive, const Piece *piece, TimestampTz after)
{
	TimestampTz next = DT_NOEND;

	for (int i = 0; i < nlive; i++)
		if (charges(&live[i], piece) && live[i].start > after && ends_at(live, nlive, piece, live[i].start))
			next = Min(next, live[i].start);
	return next;
}

/* Where the rate of a piece's tax changes next; DT_NOEND: never. */
static TimestampTz
next_change(const BatchAccount *account, const TaxTable *taxes, const Piece *piece)
{
	const AccountTerms *terms = &account->terms;
	DateADT		change = tax_next_change(taxes, terms->entity, piece->price->tax, terms->tax_status,
										 local_date(piece->start, terms->entity_tz));

	return change == DATEVAL_NOEND ? DT_NOEND : local_midnight(change, terms->entity_tz);
}

/* Only service over time is; what is charged once or in instalments stays whole. */
static bool
may_be_cut(const BatchAccount *account, const TaxTable *taxes, const Piece *piece)
{
	return has_periods(piece->item) &&
		tax_next_change(taxes, account->terms.entity, piece->price->tax,
						account->terms.tax_status, DATEVAL_NOBEGIN) != DATEVAL_NOEND;
}

/* Adds the parts of a piece; each is due with the whole. */
static void
add_parts(const BatchAccount *account, const TaxTable *taxes, const Piece *piece, PieceList *list)
{
	int			nlive;
	const LiveCharge *live = live_of_item(account->live, account->nlive, piece->item->id, &nlive);
	bool		charged = is_charged(live, nlive, piece);
	Piece		part = *piece;

	for (;;)
	{
		TimestampTz cut = charged ? next_charged_start(live, nlive, &part, part.start) : next_change(account, taxes, &part);

		if (cut >= piece->end)
			break;
		part.end = cut;
		part.whole = false;
		piece_list_add(list, &part);
		part.start = cut;
		part.end = piece->end;
	}
	piece_list_add(list, &part);
}

/* Cuts the account's pieces where their tax class wants it. */
void
split_pieces(BatchAccount *account, const TaxTable *taxes)
{
	PieceList	list = {0};
	bool		any = false;

	for (int i = 0; i < account->pieces.count && !any; i++)
		any = may_be_cut(account, taxes, &account->pieces.pieces[i]);
	if (!any)
		return;
	for (int i = 0; i < account->pieces.count; i++)
	{
		if (may_be_cut(account, taxes, &account->pieces.pieces[i]))
			add_parts(account, taxes, &account->pieces.pieces[i], &list);
		else
			piece_list_add(&list, &account->pieces.pieces[i]);
	}
	account->pieces = list;
}
