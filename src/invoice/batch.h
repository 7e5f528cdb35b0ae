/*
 * batch.h
 *		Documents of many accounts, written with one statement per table.
 */
#ifndef BILLING_BATCH_H
#define BILLING_BATCH_H

#include "invoice/announce.h"
#include "invoice/document.h"
#include "invoice/seal.h"
#include "lib/spi.h"

typedef struct DocumentBatch
{
	Rows		header;
	Rows		line;
	Rows		tax;
	Rows		charge;
	Rows		use;
	SealRequest *seals;
	int			nseals;
	int			capacity;
	struct AllocationRequest *allocations;
	int			nallocations;
	Announcements announcements;
	int			documents;
	MemoryContext scratch;		/* of the document being added */
} DocumentBatch;

extern void batch_open(DocumentBatch *batch);
extern void batch_add(DocumentBatch *batch, const AccountTerms *terms, const Document *document,
					  int64 *event_no);
extern void batch_write(DocumentBatch *batch);
extern void batch_allocate(DocumentBatch *batch, TimestampTz at);
extern void batch_seal(DocumentBatch *batch, TimestampTz at);

#endif							/* BILLING_BATCH_H */
