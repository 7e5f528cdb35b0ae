/*
 * run.h
 *		Parts of a run that do not depend on what it runs.
 */
#ifndef BILLING_RUN_H
#define BILLING_RUN_H

#include "datatype/timestamp.h"

extern void runs_mark_interrupted(void);
extern bool run_is_under_way(int pid, TimestampTz started_at);
extern void failure_park(int64 run_id, int64 account_id, const ErrorData *error);
extern bool failure_is_about_account(int sqlerrcode);
extern bool failure_is_passing(int sqlerrcode);

#endif							/* BILLING_RUN_H */
