/*
 * minimum.h
 *		Least amounts of an item or a subscription (doc/rules.md 5).
 */
#ifndef BILLING_MINIMUM_H
#define BILLING_MINIMUM_H

#include "charge/charge.h"

/* Which minimums are meant. */
typedef enum MinimumLevel
{
	MINIMUM_OF_ITEM,
	MINIMUM_OF_SUBSCRIPTION
} MinimumLevel;

extern Price *minimum_price(const char *tax, bool inclusive);
extern TimestampTz minimums_from(const Subscription *sub, const Window *window, TimestampTz low);
extern TimestampTz minimums_start(const Subscription *sub, TimestampTz at);
extern bool minimums_reach(const Subscription *sub, TimestampTz cycle, TimestampTz recompute_from);
extern void minimum_pieces(const Subscription *sub, MinimumLevel level, const Window *window, int minor_units,
						   PieceList *list);

#endif							/* BILLING_MINIMUM_H */
