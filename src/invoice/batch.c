/*
 * batch.c
 *		Documents of many accounts, written with one statement per table.
 *
 * Payload hashes are computed as the rows are made, before any series is
 * locked; the serial section is seal_documents(), the events that tell numbers,
 * and the commit.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "invoice/batch.h"
#include "invoice/canonical.h"
#include "invoice/line.h"
#include "lib/amount.h"

/* No table of documents has more. */
#define MAX_COLUMNS 48

StaticAssertDecl((int) HEADER_COUNT <= MAX_COLUMNS && (int) LINE_COUNT <= MAX_COLUMNS,
				 "a row must fit");

/* Enough for a document of some ten lines, and kept from one to the next. */
#define SCRATCH_MEMORY (64 * 1024)

/* Most canonical forms fit into it, so that they need not grow. */
#define FORM_SIZE 4000

/* Part of a credit note that is set off against what it corrects. */
typedef struct AllocationRequest
{
	int64		account_id;
	int64		credit_note_id;
	CreditAllocation allocation;
	int			minor_units;
} AllocationRequest;

/* An empty batch in the current context. */
void
batch_open(DocumentBatch *batch)
{
	memset(batch, 0, sizeof(DocumentBatch));
	batch->scratch = AllocSetContextCreate(CurrentMemoryContext, "billing document", SCRATCH_MEMORY,
										   ALLOCSET_DEFAULT_INITSIZE, ALLOCSET_DEFAULT_MAXSIZE);
	rows_open(&batch->header, "invoice_header", header_columns, HEADER_COUNT);
	rows_open(&batch->line, "invoice_line", line_columns, LINE_COUNT);
	rows_open(&batch->tax, "invoice_tax", tax_columns, TAX_COUNT);
	rows_open(&batch->charge, "charge", charge_columns, CHARGE_COUNT);
	rows_open(&batch->use, "discount_use", use_columns, USE_COUNT);
	announce_open(&batch->announcements);
}

/* Adds the rows of one document; returns its payload hash. */
static Digest
add_rows(DocumentBatch *batch, const AccountTerms *terms, const Document *document)
{
	Datum		values[MAX_COLUMNS];
	bool		nulls[MAX_COLUMNS];
	StringInfoData form;

	initStringInfo(&form);
	enlargeStringInfo(&form, FORM_SIZE);
	canonical_begin(&form);
	header_row(terms, document, values, nulls);
	rows_put(&batch->header, values, nulls);
	canonical_row(&form, "header", header_columns, HEADER_COUNT, values, nulls);
	for (int line_no = 1; line_no <= document->nlines; line_no++)
	{
		CHECK_FOR_INTERRUPTS(); /* there may be tens of thousands */
		line_row(terms, document, line_no, values, nulls);
		rows_put(&batch->line, values, nulls);
		canonical_row(&form, "line", line_columns, LINE_COUNT, values, nulls);
		for (int i = 0; i < document->lines[line_no - 1].delta->nrows; i++)
		{
			charge_row(terms, document, line_no, &document->lines[line_no - 1].delta->rows[i], values, nulls);
			rows_put(&batch->charge, values, nulls);
		}
	}
	for (int i = 0; i < document->ntaxes; i++)
	{
		tax_row(terms, document, &document->taxes[i], values, nulls);
		rows_put(&batch->tax, values, nulls);
		canonical_row(&form, "tax", tax_columns, TAX_COUNT, values, nulls);
	}
	for (int i = 0; i < document->nuses; i++)
	{
		use_row(terms, document, &document->uses[i], values, nulls);
		rows_put(&batch->use, values, nulls);
	}
	return canonical_hash(&form);
}

/* Asks for the seal of a finished document. */
static void
add_seal(DocumentBatch *batch, const AccountTerms *terms, const Document *document, const Digest *payload)
{
	if (batch->nseals == batch->capacity)
	{
		batch->capacity = Max(64, 2 * batch->capacity);
		batch->seals = batch->seals == NULL ? palloc(sizeof(SealRequest) * batch->capacity)
			: repalloc(batch->seals, sizeof(SealRequest) * batch->capacity);
	}
	batch->seals[batch->nseals++] = (SealRequest)
	{
		.series = document->credit_note ? terms->credit_note_series : terms->invoice_series,
			.account_id = terms->account_id, .invoice_id = document->id, .payload = *payload,
			.tz = terms->entity_tz
	};
}

/* Asks for the allocations of a credit note to the documents that it corrects. */
static void
add_allocations(DocumentBatch *batch, const AccountTerms *terms, const Document *document)
{
	int			total = batch->nallocations + document->nallocations;

	if (document->nallocations == 0)
		return;
	batch->allocations = batch->allocations == NULL ? palloc(sizeof(AllocationRequest) * total)
		: repalloc(batch->allocations, sizeof(AllocationRequest) * total);
	for (int i = 0; i < document->nallocations; i++)
		batch->allocations[batch->nallocations++] = (AllocationRequest)
	{
		terms->account_id, document->id, document->allocations[i], terms->minor_units
	};
}

/*
 * Adds a document whose id is set; event_no counts the events of its account.
 * Nothing of the document is referenced afterwards but the terms.
 */
void
batch_add(DocumentBatch *batch, const AccountTerms *terms, const Document *document, int64 *event_no)
{
	MemoryContext old = MemoryContextSwitchTo(batch->scratch);
	Digest		payload = add_rows(batch, terms, document);

	MemoryContextSwitchTo(old);
	MemoryContextReset(batch->scratch);
	batch->documents++;
	if (!document->finish)
		return;
	add_seal(batch, terms, document, &payload);
	announce_finished(&batch->announcements, terms, document, batch->nseals - 1, event_no);
	add_allocations(batch, terms, document);
}

/* Sets a credit note, whose header counts it already, off against what it corrects. */
static void
allocate(const AllocationRequest *request, TimestampTz at)
{
	static SpiQuery insert = {
		.text = "INSERT INTO billing.credit_allocation (account_id, credit_note_id, invoice_id, amount, allocated_at) VALUES ($1, $2, $3, $4, $5)",
		.nargs = 5, .argtypes = {INT8OID, INT8OID, INT8OID, NUMERICOID, TIMESTAMPTZOID}
	};
	static SpiQuery settle = {
		.text = "SELECT billing_internal.settle_invoice($1, $2, 0, $3, $4, 'credited')",
		.nargs = 4, .argtypes = {INT8OID, INT8OID, NUMERICOID, TIMESTAMPTZOID}
	};
	Datum		amount = NumericGetDatum(amount_numeric(request->allocation.amount, request->minor_units));
	Datum		values[5] = {Int64GetDatum(request->account_id), Int64GetDatum(request->credit_note_id),
	Int64GetDatum(request->allocation.invoice_id), amount, TimestampTzGetDatum(at)};
	Datum		settled[4] = {values[0], values[2], amount, values[4]};

	(void) query_run(&insert, values, NULL, false);
	(void) query_run(&settle, settled, NULL, false);
}

/* Writes the rows; then the accounts' counters of events stand. */
void
batch_write(DocumentBatch *batch)
{
	rows_insert(&batch->header);
	rows_insert(&batch->line);
	rows_insert(&batch->tax);
	rows_insert(&batch->charge);
	rows_insert(&batch->use);
}

/* Sets credit notes off, with events of its own; the accounts' states are stored. */
void
batch_allocate(DocumentBatch *batch, TimestampTz at)
{
	for (int i = 0; i < batch->nallocations; i++)
		allocate(&batch->allocations[i], at);
}

/* Numbers the documents as of at, and writes the events that tell of it. */
void
batch_seal(DocumentBatch *batch, TimestampTz at)
{
	seal_documents(batch->seals, batch->nseals, at);
	announce_write(&batch->announcements, batch->seals, at);
}
