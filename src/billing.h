/*
 * billing.h
 *		The settings of the engine (src/billing.c).
 */
#ifndef BILLING_H
#define BILLING_H

extern bool billing_enabled;
extern int	billing_max_future; /* minutes */
extern int	billing_job_history;	/* runs */
extern int	billing_job_retry;	/* seconds */
extern int	billing_max_runners;
extern int	billing_scheduler_interval; /* seconds */
extern int	billing_seal_timeout;	/* milliseconds */
extern bool billing_workers;

#endif							/* BILLING_H */
