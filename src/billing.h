/*
 * billing.h
 *		The settings of the engine (src/billing.c).
 */
#ifndef BILLING_H
#define BILLING_H

extern bool billing_enabled;
extern int	billing_max_future; /* minutes */
extern int	billing_seal_timeout;	/* milliseconds */

#endif							/* BILLING_H */
