/*
 * announce.h
 *		Events of documents that a batch finished.
 */
#ifndef BILLING_ANNOUNCE_H
#define BILLING_ANNOUNCE_H

#include "event/emit.h"
#include "invoice/document.h"
#include "invoice/seal.h"

typedef struct Announcements
{
	EventLog	log;
	struct Announcement *list;
	int			count;
	int			capacity;
} Announcements;

extern void announce_open(Announcements *announcements);
extern void announce_finished(Announcements *announcements, const AccountTerms *terms,
							  const Document *document, int seal, int64 *event_no);
extern void announce_write(Announcements *announcements, const SealRequest *seals, TimestampTz at);

#endif							/* BILLING_ANNOUNCE_H */
