/*
 * share.c
 *		A charge's share of its document's discounts, when the charge is corrected.
 *
 * doc/rules.md 5.  Pure.  What remains of the charge keeps its share in
 * proportion, rounded once; the rest of the share comes back.
 */
#include "postgres.h"

#include "charge/charge.h"
#include "lib/num.h"

/* round(share x kept / charged), at most all of it. */
static int64
kept_share(int64 share, int64 kept, int64 charged)
{
	if (share == 0 || kept <= 0 || charged <= 0)
		return 0;
	if (kept >= charged)
		return share;
	return amount_prorate(num_from_int(share), kept, charged, 0);
}

/* Sets the shares of a correction and of the rows that are live after it. */
void
share_correction(Delta *delta)
{
	int64	   *weights = palloc(sizeof(int64) * Max(delta->nrows, 1));
	int64	   *parts = palloc0(sizeof(int64) * Max(delta->nrows, 1));
	int64		kept = 0;
	int64		share;

	if (delta->live->document_discount == 0)
		return;
	for (int i = 0; i < delta->nrows; i++)
	{
		weights[i] = delta->rows[i].money.amount;
		kept = amount_add(kept, weights[i]);
	}
	share = kept_share(delta->live->document_discount, kept, delta->live->money.amount);
	if (share != 0)
		amount_split(share, weights, delta->nrows, parts);
	for (int i = 0; i < delta->nrows; i++)
		delta->rows[i].document_discount = parts[i];
	delta->document_discount = amount_sub(share, delta->live->document_discount);
}
