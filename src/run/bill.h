/*
 * bill.h
 *		Billing a set of accounts in the current transaction.
 */
#ifndef BILLING_BILL_H
#define BILLING_BILL_H

#include "run/account_batch.h"

typedef struct BillOptions
{
	TimestampTz at;
	bool		finalize;		/* finish documents, or leave drafts */
	int64		only_invoice;	/* finish this document only; 0: all */
	bool		at_once;		/* corrections and prorated charges too, whatever their due date */
	bool		on_demand;		/* one account, due or not; finish also what may still take late
								 * usage */
	Accrual		accrue;			/* arrears in progress that are charged too */
	bool		wait;			/* for accounts locked by others, or leave them out */
} BillOptions;

typedef struct BillResult
{
	int			accounts;		/* billed */
	int64	   *invoice_ids;	/* documents finished or drafted */
	int			ninvoices;
	int64	   *skipped;		/* accounts left out */
	int			nskipped;
} BillResult;

extern void bill_accounts(RunContext *run, int64 *ids, int count, const BillOptions *options,
						  BillResult *result);

#endif							/* BILLING_BILL_H */
