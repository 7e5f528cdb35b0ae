/*
 * currency.h
 *		The currencies of ISO 4217.
 */
#ifndef BILLING_CURRENCY_H
#define BILLING_CURRENCY_H

extern int	currency_minor_units(const char *code);

#endif							/* BILLING_CURRENCY_H */
