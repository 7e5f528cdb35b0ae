/*
 * discount.h
 *		Discounts and increments of lines, cycle by cycle (doc/rules.md 5).
 */
#ifndef BILLING_DISCOUNT_H
#define BILLING_DISCOUNT_H

#include "charge/charge.h"

/* Which discounts are meant. */
typedef enum DiscountLevel
{
	DISCOUNT_OF_ITEM,
	DISCOUNT_OF_SUBSCRIPTION
} DiscountLevel;

extern TimestampTz piece_cycle(const Piece *piece);
extern bool needs_whole_cycles(const Subscription *sub);
extern void discount_pieces(const Subscription *sub, DiscountLevel level, PieceList *list);

#endif							/* BILLING_DISCOUNT_H */
