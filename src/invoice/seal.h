/*
 * seal.h
 *		Numbers of finished documents: gapless series, chained by hash.
 */
#ifndef BILLING_SEAL_H
#define BILLING_SEAL_H

#include "datatype/timestamp.h"
#include "lib/hash.h"
#include "pgtime.h"
#include "utils/date.h"

/* A finished document that wants its number. */
typedef struct SealRequest
{
	const char *series;
	int64		account_id;
	int64		invoice_id;
	Digest		payload;
	pg_tz	   *tz;				/* the seller's: dates are his */
	DateADT		local_date;		/* today there; this and what follows seal_documents() fills in */
	DateADT		issued_on;
	char	   *number;
} SealRequest;

extern void seal_documents(SealRequest *requests, int count, TimestampTz at);
extern Digest chain_link(const Digest *before, const char *series, int64 position, const char *number,
						 DateADT issued_on, const Digest *payload);

#endif							/* BILLING_SEAL_H */
