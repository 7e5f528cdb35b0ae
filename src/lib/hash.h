/*
 * hash.h
 *		SHA-256, by the server's own implementation.
 */
#ifndef BILLING_HASH_H
#define BILLING_HASH_H

#include "common/sha2.h"

typedef struct Digest
{
	uint8		bytes[PG_SHA256_DIGEST_LENGTH];
} Digest;

extern Digest hash_digest(const void *data, size_t length);
extern Digest hash_pair(const Digest *first, const void *data, size_t length);
extern char *hash_hex(const void *data, size_t length);
extern bytea *hash_bytea(const Digest *hash);

#endif							/* BILLING_HASH_H */
