/*
 * document.h
 *		From differences to documents: grouping, tax, totals (doc/rules.md 5, 6).
 */
#ifndef BILLING_DOCUMENT_H
#define BILLING_DOCUMENT_H

#include "catalog/tax.h"
#include "charge/charge.h"

/* What documents copy from an account and its seller. */
typedef struct AccountTerms
{
	int64		account_id;
	char	   *entity;
	pg_tz	   *entity_tz;
	Jsonb	   *seller;
	Jsonb	   *buyer;
	Jsonb	   *metadata;
	char	   *currency;
	int			minor_units;
	char	   *tax_status;
	int			payment_terms_days;
	char	   *invoice_series;
	DateADT		last_issued_on; /* date of that series, which never goes back */
	char	   *credit_note_series;
	char	   *buyer_reference;	/* or NULL */
	bool		by_subscription;	/* a document for each subscription */
	Interval	grace;			/* drafts take late usage so long after their due instant */
} AccountTerms;

/* A document that a correction may point to. */
typedef struct OriginDocument
{
	int64		id;
	int64		amount_due;
	int64		credited;		/* of amount_due by this pass */
	bool		settled;
} OriginDocument;

/* What credit notes gave back so far of one tax group of a document. */
typedef struct CreditedBefore
{
	int64		invoice_id;
	char	   *category;
	Numeric		rate;
	bool		inclusive;
	int64		amount;			/* in the price's terms */
} CreditedBefore;

/* A discount on whole documents. */
typedef struct DocumentDiscount
{
	int64		id;
	int64		subscription_id;	/* on its lines only; 0: on all */
	Numeric		percent;		/* NULL: a fixed amount */
	int64		left;			/* of the fixed amount */
	TimestampTz from;			/* documents that are due from then on ... */
	TimestampTz to;				/* ... and before then */
} DocumentDiscount;

/* What a document took of a discount. */
typedef struct DiscountUse
{
	int64		discount_id;
	int64		origin_invoice; /* the document that took it; 0: this one */
	int64		amount;			/* negative: brought back */
} DiscountUse;

typedef struct DocumentDiscounts
{
	DocumentDiscount *discounts;	/* by id */
	int			count;
	DiscountUse *uses;			/* what documents that may be corrected still hold */
	int			nuses;
} DocumentDiscounts;

/* History that only accounts with corrections or document discounts need. */
typedef struct CorrectionHistory
{
	OriginDocument *origins;
	int			norigins;
	CreditedBefore *credited;	/* those of this pass are added */
	int			ncredited;
	DocumentDiscounts discounts;
} CorrectionHistory;

typedef struct DocumentLine
{
	const Delta *delta;
	const Price *price;
	const char *category;
	Numeric		rate;
	const char *reason;			/* or NULL */
	const char *scope;
	const char *purchase_order; /* or NULL */
	const char *group;			/* what of the account is billed together */
	int64		subscription_id;
	int64		item_id;
	TimestampTz start;
	TimestampTz end;
	Money		money;			/* in the price's terms; positive on credit notes */
	int64		document_discount;	/* with the sign of the amount */
	int64		net;
} DocumentLine;

typedef struct TaxTotal
{
	const char *category;
	Numeric		rate;
	const char *reason;
	int64		net;
	int64		tax;
} TaxTotal;

typedef struct CreditAllocation
{
	int64		invoice_id;
	int64		amount;
} CreditAllocation;

typedef struct Document
{
	bool		credit_note;
	TimestampTz due;
	DocumentLine *lines;
	int			nlines;
	TaxTotal   *taxes;
	int			ntaxes;
	int64		net;
	int64		tax;
	int64		rounding;
	TimestampTz period_start;
	TimestampTz period_end;
	CreditAllocation *allocations;	/* of a credit note, to what it corrects */
	int			nallocations;
	DiscountUse *uses;			/* of document discounts */
	int			nuses;
	int64		id;				/* set by the writer */
	TimestampTz finalize_after; /* a draft until then; DT_NOBEGIN: no grace */
	bool		finish;			/* gets number and seal; else (again) a draft */
} Document;

typedef struct DocumentList
{
	Document   *documents;
	int			count;
	int			capacity;
} DocumentList;

extern void documents_build(const AccountTerms *terms, const TaxTable *taxes, DateADT issued_on,
							CorrectionHistory *history, const DeltaList *deltas,
							DocumentList *list);
extern void discount_document(Document *document, const DocumentDiscounts *discounts);
extern void discount_accept(const Document *document, DocumentDiscounts *discounts);
extern int64 line_base(const DocumentLine *line);
extern void document_totals(Document *document);
extern void credit_note_totals(Document *document, CorrectionHistory *history);

#endif							/* BILLING_DOCUMENT_H */
