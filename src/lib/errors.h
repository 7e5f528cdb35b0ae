/*
 * errors.h
 *		The SQLSTATEs of class LB, one per kind of mistake, in one list.
 *
 * The list is the only source: C raises ERRCODE_<NAME>, plpgsql calls
 * billing_internal.fail('<name>', ...), and setup() fills billing.error_code
 * from billing_internal.error_codes().  Codes are never reused.  Where the
 * server has a code that drivers know (22004, 22008, 23505, 42501, 55P03 ...)
 * that one is raised instead.
 */
#ifndef BILLING_ERRORS_H
#define BILLING_ERRORS_H

#include "utils/elog.h"

/* X(symbol, number, name, meaning, action) */
#define BILLING_ERRORS(X) \
	X(BOOKS_NOT_SET_UP, 1, "books_not_set_up", "the books' tables do not exist in this database", "call billing.setup() as a superuser") \
	X(BOOKS_VERSION_MISMATCH, 2, "books_version_mismatch", "engine and books have different versions", "call billing.setup() to migrate the books") \
	X(BOOKS_NOT_ADOPTED, 3, "books_not_adopted", "the books were copied here from another cluster or database", "make sure that the original no longer bills, then call billing.adopt_books()") \
	X(DISABLED, 4, "billing_disabled", "billing.enabled is off", "set billing.enabled = on where this copy may bill") \
	X(HOSTILE_SCHEMA, 5, "hostile_schema", "schema billing holds objects that setup() did not make", "move or drop them") \
	X(ID_OVERFLOW, 6, "id_overflow", "an account has used up its 16,777,215 ids, or the account numbers are used up", "open a new account") \
	X(BOOKS_DAMAGED, 7, "books_damaged", "stored rows contradict each other", "run billing.check()") \
	X(UNKNOWN_ENTITY, 101, "unknown_entity", "no entity has this code", "create it, or correct the code") \
	X(UNKNOWN_CURRENCY, 102, "unknown_currency", "no ISO 4217 currency has this code", "use a code of billing.currency") \
	X(UNKNOWN_TAX, 103, "unknown_tax", "no tax class has this code", "create it, or correct the code") \
	X(UNKNOWN_METER, 104, "unknown_meter", "no meter has this code, or the subscription has no item on it", "create it, or correct the code") \
	X(UNKNOWN_PRODUCT, 105, "unknown_product", "no product has this code", "create it, or correct the code") \
	X(UNKNOWN_PRICE, 106, "unknown_price", "no price has this code", "create it, or correct the code") \
	X(UNKNOWN_PLAN, 107, "unknown_plan", "no plan has this code", "create it, or correct the code") \
	X(UNKNOWN_ACCOUNT, 108, "unknown_account", "no account has this id", "look the id up with billing.account_id()") \
	X(UNKNOWN_SUBSCRIPTION, 109, "unknown_subscription", "no subscription has this id", "look the id up with billing.subscription_id()") \
	X(UNKNOWN_INVOICE, 110, "unknown_invoice", "no document has this id", "see billing.invoice") \
	X(UNKNOWN_EXTERNAL_ID, 111, "unknown_external_id", "no row was created with this external id", "correct the external id") \
	X(UNKNOWN_SERIES, 112, "unknown_series", "no number series has this code", "see billing.series") \
	X(UNKNOWN_CHANGE, 115, "unknown_change", "no change of a subscription has this id", "see billing.pending_changes()") \
	X(UNKNOWN_COUPON, 116, "unknown_coupon", "no coupon has this code", "create it, or correct the code") \
	X(UNKNOWN_DISCOUNT, 117, "unknown_discount", "no discount or increment has this id", "see billing.discount") \
	X(UNKNOWN_MINIMUM, 118, "unknown_minimum", "no minimum has this id", "see billing.minimum") \
	X(ENTITY_REQUIRED, 113, "entity_required", "there is not exactly one entity, so it must be named", "pass entity => ...") \
	X(ARCHIVED_OBJECT, 120, "archived_object", "the price or plan is archived and takes no new subscriptions", "use its successor") \
	X(PRICE_IN_USE, 121, "price_in_use", "a price that a subscription uses cannot be changed", "create a new version with billing.create_price_version()") \
	X(INVALID_SCHEME, 201, "invalid_scheme", "the price scheme is malformed", "correct the key that the detail names") \
	X(QUANTITY_OUT_OF_BRACKETS, 202, "quantity_out_of_brackets", "the quantity lies above a closed last bracket without overage", "open the last bracket or set overage_unit_amount") \
	X(INVALID_QUANTITY, 203, "invalid_quantity", "a quantity is negative, not a number or infinite", "pass a finite quantity of zero or more") \
	X(CURRENCY_MISMATCH, 204, "currency_mismatch", "an account and what it is to have, or plan items, have different currencies", "use the account's currency") \
	X(INVALID_INTERVAL, 205, "invalid_interval", "an interval is not a positive number of whole months or whole days, or not a multiple of the schedule's", "use whole months or whole days") \
	X(INVALID_TIME_ZONE, 206, "invalid_time_zone", "no time zone has this name", "use an IANA name such as Europe/Berlin") \
	X(INVALID_ITEM, 207, "invalid_item", "an element of items is malformed or does not fit the plan", "correct the key that the detail names") \
	X(INVALID_ARGUMENT, 208, "invalid_argument", "an argument has a value that the call does not know", "see the detail for the values it takes") \
	X(IDEMPOTENCY_CONFLICT, 301, "idempotency_conflict", "the idempotency or event key was used before with other arguments", "use a new key for a new act") \
	X(USAGE_OUTSIDE_SUBSCRIPTION, 302, "usage_outside_subscription", "the moment of use lies outside the subscription's life", "correct the moment or the subscription") \
	X(WRONG_SUBSCRIPTION_STATE, 303, "wrong_subscription_state", "the subscription or item is at the instant in no state that allows this, or a later change stands in the way", "see billing.subscription_state and billing.pending_changes()") \
	X(CHANGE_IN_EFFECT, 304, "change_in_effect", "the change took effect, was withdrawn, or what it changed was changed since", "make another change") \
	X(COUPON_NOT_REDEEMABLE, 305, "coupon_not_redeemable", "the coupon is archived, not valid at the instant, in another currency, used up or does not fit", "see the detail") \
	X(DISCOUNT_ENDED, 306, "discount_ended", "the discount or minimum ended before the instant", "see billing.discount and billing.minimum for its dates") \
	X(UNKNOWN_ITEM, 114, "unknown_item", "no item has this id", "see billing.subscription_item") \
	X(UNKNOWN_JOB, 130, "unknown_job", "no job has this name", "see billing.job") \
	X(UNKNOWN_PAYMENT, 140, "unknown_payment", "no payment has this id", "see billing.payment") \
	X(UNKNOWN_PAYMENT_METHOD, 141, "unknown_payment_method", "the account has no payment method with this id, or no such type exists", "see billing.payment_method and billing.payment_method_type") \
	X(UNKNOWN_COLLECTION, 142, "unknown_collection", "no collection has this id", "see billing.collection") \
	X(UNKNOWN_DUNNING_SCHEME, 143, "unknown_dunning_scheme", "no dunning scheme has this code", "create it, or correct the code") \
	X(UNKNOWN_CASE, 144, "unknown_case", "no dunning case has this id", "see billing.dunning_case") \
	X(UNKNOWN_ARRANGEMENT, 145, "unknown_arrangement", "no promise, arrangement or transfer to an agency has this id", "see billing.promise, billing.arrangement and billing.agency_transfer") \
	X(UNKNOWN_NOTIFICATION, 146, "unknown_notification", "no notification has this id", "see billing.notification") \
	X(UNKNOWN_CONSUMER, 147, "unknown_consumer", "no consumer of events has this name", "create it, or correct the name") \
	X(UNKNOWN_TEMPLATE, 148, "unknown_template", "the entity has no template of this code", "create it, or correct the code") \
	X(UNKNOWN_RETRY_POLICY, 149, "unknown_retry_policy", "no retry policy or rate of interest has this code", "create it, or correct the code") \
	X(WRONG_POSITION, 307, "wrong_position", "the position lies before what the consumer acknowledged last, or beyond what it can read", "acknowledge the last position that billing.read_events() returned") \
	X(NO_TAX_RATE, 401, "no_tax_rate", "no tax rate is valid for entity, class, tax status and tax point", "insert the rate into billing.tax_rate") \
	X(DOCUMENT_IMMUTABLE, 402, "document_immutable", "a finished document, its charges or its seal cannot be changed", "correct it with a new document") \
	X(WRONG_DOCUMENT_STATE, 403, "wrong_document_state", "the document's status does not allow this", "see the document's status") \
	X(DOCUMENT_CORRECTED, 404, "document_corrected", "a later document corrects a line of this one, or money is allocated to it", "void or reverse that first") \
	X(RUN_IN_FUTURE, 405, "run_in_future", "at lies further ahead than billing.max_future allows", "pass an earlier at, or raise billing.max_future in tests") \
	X(LOCK_ORDER, 406, "lock_order", "the transaction already holds a number series and the account is locked by another session", "bill and finalise last in a transaction, then retry it") \
	X(DUPLICATE_CHARGE, 407, "duplicate_charge", "the same thing would be charged or credited twice", "run billing.check()") \
	X(INVALID_AMOUNT, 501, "invalid_amount", "an amount of money is not positive, not finite or finer than the currency's minor unit", "pass a positive amount in whole minor units") \
	X(AMOUNT_EXCEEDED, 502, "amount_exceeded", "more is allocated, refunded, credited or promised than there is left", "see the detail for what is left") \
	X(INVALID_IBAN, 503, "invalid_iban", "the account number is no IBAN: its length, its characters or its check digits are wrong", "correct the number") \
	X(INVALID_DUNNING_SCHEME, 504, "invalid_dunning_scheme", "a dunning scheme has no steps, or one that contradicts itself", "correct the step that the detail names") \
	X(INVALID_TEMPLATE, 505, "invalid_template", "a template has an unknown field or unpaired braces, or is needed", "correct what the message names") \
	X(WRONG_CASE_STATE, 506, "wrong_case_state", "the dunning case, promise, arrangement or transfer is in no state that allows this", "see its state") \
	X(PAYMENT_METHOD_UNUSABLE, 507, "payment_method_unusable", "the payment method is not active, has expired or has no valid mandate", "use another payment method") \
	X(NOT_CLAIMED, 508, "not_claimed", "the collection or notification is not claimed by the caller, or was settled with another outcome", "claim it again")

#define BILLING_SQLSTATE(d) \
	MAKE_SQLSTATE('L', 'B', '0' + (d) / 100, '0' + (d) / 10 % 10, '0' + (d) % 10)

/* ERRCODE_BILLING_<symbol> for each row of the list */
enum BillingErrcode
{
#define X(symbol, number, name, meaning, action) \
	ERRCODE_BILLING_##symbol = BILLING_SQLSTATE(number),
	BILLING_ERRORS(X)
#undef X
	ERRCODE_BILLING_LAST
};

#endif							/* BILLING_ERRORS_H */
