/*
 * crew.h
 *		The background workers of a bill run.
 */
#ifndef BILLING_RUN_CREW_H
#define BILLING_RUN_CREW_H

#include "run/work.h"

extern int	crew_start(const BillRun *run, int workers);
extern bool crew_ended(int milliseconds, int *failures);
extern void crew_stop(void);

#endif							/* BILLING_RUN_CREW_H */
