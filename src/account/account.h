/*
 * account.h
 *		The account's row that every act locks, and the ids drawn from it.
 */
#ifndef BILLING_ACCOUNT_H
#define BILLING_ACCOUNT_H

#define ID_ORDINAL_BITS 24
#define MAX_ACCOUNT_ID INT64CONST(536870911)

#define account_of_id(id) ((id) >> ID_ORDINAL_BITS)

extern int64 make_id(int64 account_id, int64 ordinal);
extern void account_lock(int64 account_id);
extern void account_series_locked(void);
extern bool account_holds_series(void);

#endif							/* BILLING_ACCOUNT_H */
