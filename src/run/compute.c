/*
 * compute.c
 *		From a batch's timelines to its documents; reads usage, writes nothing.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "account/account.h"
#include "run/account_batch.h"

/* The draft that a document replaces; NULL: none. */
static Draft *
find_draft(BatchAccount *account, const Document *document)
{
	const DocumentLine *first = &document->lines[0];

	for (int i = 0; i < account->ndrafts; i++)
	{
		Draft	   *draft = &account->drafts[i];

		if (!draft->taken && draft->credit_note == document->credit_note && draft->due == document->due &&
			strcmp(draft->scope, first->scope) == 0 && strcmp(draft->billing_group, first->group) == 0)
			return draft;
	}
	return NULL;
}

/* Gives each document the id of the draft it replaces, or a new one. */
static void
number_documents(BatchAccount *account)
{
	for (int i = 0; i < account->documents.count; i++)
	{
		Document   *document = &account->documents.documents[i];
		Draft	   *draft = find_draft(account, document);

		if (draft != NULL)
		{
			draft->taken = true;
			document->id = draft->id;
		}
		else
			document->id = make_id(account->terms.account_id, account->next_ordinal++);
	}
}

/* Is what is due at an instant due by itself, not only because the run is at that instant? */
static bool
is_due_by_itself(const BatchAccount *account, TimestampTz due)
{
	if (due < account->window.horizon)
		return true;
	for (int i = 0; i < account->deltas.count; i++)
	{
		const Delta *delta = &account->deltas.deltas[i];

		if (delta->due == due && !delta->correction && delta->piece->due == due)
			return true;
	}
	return false;
}

/*
 * Until when the documents stay drafts.  All that is due at one instant goes
 * together.  What was invoiced at once, or has no regular invoice to wait for,
 * has no grace: every run would begin it anew.
 */
static void
set_grace(BatchAccount *account)
{
	const Interval *grace = &account->terms.grace;
	bool		any = grace->month != 0 || grace->day != 0 || grace->time != 0;

	for (int i = 0; i < account->documents.count; i++)
	{
		Document   *document = &account->documents.documents[i];

		document->finalize_after = any && is_due_by_itself(account, document->due)
			? instant_after(document->due, grace, account->terms.entity_tz) : DT_NOBEGIN;
	}
}

/* When a subscription of the account is due next after what was billed; DT_NOEND: never. */
TimestampTz
account_next_due(const BatchAccount *account)
{
	TimestampTz next = DT_NOEND;

	for (int s = 0; s < account->nsubs; s++)
		next = Min(next, subscription_next_due(&account->subs[s], account->window.horizon));
	return next;
}

/* Has any of the account's subscriptions discounts or minimums? */
static bool
is_adjusted(const BatchAccount *account)
{
	for (int s = 0; s < account->nsubs; s++)
		if (account->subs[s].ndiscounts > 0 || account->subs[s].nminimums > 0)
			return true;
	return false;
}

/* Fills pieces and deltas of every account of a loaded batch. */
void
batch_compare(AccountBatch *batch, RunContext *run)
{
	for (int i = 0; i < batch->count; i++)
	{
		BatchAccount *account = &batch->accounts[i];

		for (int s = 0; s < account->nsubs; s++)
		{
			CHECK_FOR_INTERRUPTS();
			discounted_pieces(&account->subs[s], &account->window, &account->pieces);
		}
		split_pieces(account, run->taxes);
	}
	batch_load_usage(batch, run);
	for (int i = 0; i < batch->count; i++)
	{
		BatchAccount *account = &batch->accounts[i];

		CHECK_FOR_INTERRUPTS();
		for (int k = 0; k < account->pieces.count; k++)
			piece_rate(&account->pieces.pieces[k], account->terms.minor_units);
		if (is_adjusted(account))
			adjust_pieces(account->subs, account->nsubs, &account->window, account->terms.minor_units, &account->pieces);
		CHECK_FOR_INTERRUPTS(); /* the heart itself knows nothing of them; big accounts take tenths
								 * of a second */
		charge_difference(account->subs, account->nsubs, &account->window, &account->pieces,
						  account->live, account->nlive, &account->deltas);
	}
}

/* Makes documents of the differences, as of at. */
void
batch_document(AccountBatch *batch, RunContext *run, TimestampTz at)
{
	for (int i = 0; i < batch->count; i++)
	{
		BatchAccount *account = &batch->accounts[i];

		CHECK_FOR_INTERRUPTS();
		split_corrections(account);
		documents_build(&account->terms, run->taxes,
						Max(local_date(at, account->terms.entity_tz), account->terms.last_issued_on),
						&account->history, &account->deltas, &account->documents);
		number_documents(account);
		set_grace(account);
	}
}
