/*
 * report.h
 *		Reports on accounts: the load and compute of a run, without the writer.
 */
#ifndef BILLING_RUN_REPORT_H
#define BILLING_RUN_REPORT_H

#include "funcapi.h"

#include "lib/gate.h"
#include "run/account_batch.h"

/* How a report looks at its accounts. */
typedef struct Report
{
	ReturnSetInfo *rsinfo;
	RunContext *run;
	Datum		entities;		/* text[]: those of them whose accounts the caller may see */
	bool		all_entities;	/* all of them */
	TimestampTz at;
	Accrual		accrue;			/* arrears in progress that count so far */
	bool		at_once;		/* corrections and prorated charges, whatever their due date */
	bool		deep;			/* compare everything that was billed */
	Jsonb	   *edits;			/* of the timeline, taken as made; NULL: none */
	TimestampTz changed_from;	/* the earliest instant that they touch */
	void		(*put) (struct Report *report, AccountBatch *batch);	/* computes, adds rows */
} Report;

/* One row of a result being filled column by column. */
typedef struct ResultRow
{
	Datum		values[24];
	bool		nulls[24];
	int			count;
} ResultRow;

extern void report_open(FunctionCallInfo fcinfo, Report *report, AccessKind kind, int64 account_id,
						BooksScope *scope);
extern void report_account(Report *report, int64 account_id);
extern void report_compute(const Report *report, AccountBatch *batch);
extern void report_close(BooksScope *scope);
extern TimestampTz report_moment(FunctionCallInfo fcinfo, int arg);
extern void result_add(ResultRow *row, Datum value, bool isnull);
extern void result_add_money(ResultRow *row, int64 amount, const BatchAccount *account);
extern void result_put(const Report *report, ResultRow *row);

#endif							/* BILLING_RUN_REPORT_H */
