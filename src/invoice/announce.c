/*
 * announce.c
 *		Events of documents that a batch finished.
 *
 * An event gets its number when the document is added, so that the account's
 * counter can be stored with the rest of its state; it is written when the
 * document has its number.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#include "invoice/announce.h"
#include "lib/amount.h"
#include "lib/num.h"

enum
{
	INVOICE_FINALIZED, CREDIT_NOTE_ISSUED, INVOICE_PAID, ANNOUNCED_TYPES
};

static const char *const announced_types[ANNOUNCED_TYPES] = {
	"invoice.finalized", "credit_note.issued", "invoice.paid"
};

/* An event that waits for the number of its document. */
typedef struct Announcement
{
	int			type;
	int64		account_id;
	int64		invoice_id;
	int64		event_no;
	int			seal;			/* place of the document's number in the batch */
	const AccountTerms *terms;
	int64		total;
} Announcement;

void
announce_open(Announcements *announcements)
{
	memset(announcements, 0, sizeof(Announcements));
	events_open(&announcements->log, announced_types, ANNOUNCED_TYPES);
}

/* Adds an event with the account's next number, unless its type is not kept. */
static void
announce(Announcements *announcements, Announcement announcement, int64 *event_no)
{
	if (!announcements->log.kept[announcement.type])
		return;
	if (announcements->count == announcements->capacity)
	{
		announcements->capacity = Max(64, 2 * announcements->capacity);
		announcements->list = announcements->list == NULL
			? palloc(sizeof(Announcement) * announcements->capacity)
			: repalloc(announcements->list, sizeof(Announcement) * announcements->capacity);
	}
	announcement.event_no = ++*event_no;
	announcements->list[announcements->count++] = announcement;
}

/* A document was finished, and gets a number; with nothing to pay an invoice is paid at once. */
void
announce_finished(Announcements *announcements, const AccountTerms *terms, const Document *document, int seal,
				  int64 *event_no)
{
	int64		total = amount_add(document->net, document->tax);
	Announcement announcement = {
		.type = document->credit_note ? CREDIT_NOTE_ISSUED : INVOICE_FINALIZED, .account_id = terms->account_id,
		.invoice_id = document->id, .seal = seal, .terms = terms, .total = total
	};

	announce(announcements, announcement, event_no);
	announcement.type = INVOICE_PAID;
	if (!document->credit_note && amount_add(total, document->rounding) == 0)
		announce(announcements, announcement, event_no);
}

/* Number, currency, total and due date, as far as the kind of event has them. */
static Datum
payload_of(const Announcement *announcement, const SealRequest *seals, StringInfo json)
{
	const AccountTerms *terms = announcement->terms;
	const SealRequest *seal = &seals[announcement->seal];
	int			year,
				month,
				day;

	resetStringInfo(json);
	appendStringInfoChar(json, '{');
	if (announcement->type != INVOICE_PAID)
	{
		appendStringInfoString(json, "\"number\":");
		escape_json(json, seal->number);
		appendStringInfo(json, ",\"currency\":\"%s\",\"total\":\"%s\"", terms->currency,
						 num_out(amount_numeric(announcement->total, terms->minor_units)));
	}
	if (announcement->type == INVOICE_FINALIZED)
	{
		j2date(seal->issued_on + terms->payment_terms_days + POSTGRES_EPOCH_JDATE, &year, &month, &day);
		appendStringInfo(json, ",\"due_on\":\"%04d-%02d-%02d\"", year, month, day);
	}
	appendStringInfoChar(json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json->data));
}

/* Writes the events of documents that were numbered as of at. */
void
announce_write(Announcements *announcements, const SealRequest *seals, TimestampTz at)
{
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < announcements->count; i++)
	{
		const Announcement *announcement = &announcements->list[i];

		events_put(&announcements->log, announcement->type, announcement->account_id, announcement->event_no,
				   announcement->invoice_id, at, payload_of(announcement, seals, &json));
	}
	events_write(&announcements->log);
}
