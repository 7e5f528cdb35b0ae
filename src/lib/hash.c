/*
 * hash.c
 *		SHA-256, by the server's own implementation.
 */
#include "postgres.h"

#include "common/cryptohash.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "compat.h"
#include "lib/hash.h"

/*
 * The session's hash computation, made once: that costs a third of the hash of
 * a document.  It belongs to a resource owner of its own, as those of
 * transactions would free it.
 */
static pg_cryptohash_ctx *
session_hash(void)
{
	static pg_cryptohash_ctx *ctx = NULL;
	ResourceOwner current = CurrentResourceOwner;
	MemoryContext old;

	if (ctx != NULL)
		return ctx;
	/* servers without OpenSSL take the current context */
	old = MemoryContextSwitchTo(TopMemoryContext);
	CurrentResourceOwner = ResourceOwnerCreate(NULL, "billing hashes");
	ctx = pg_cryptohash_create(PG_SHA256);
	CurrentResourceOwner = current;
	MemoryContextSwitchTo(old);
	if (ctx == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	return ctx;
}

/* Digest of one or two stretches of bytes. */
static Digest
digest_of(const void *first, size_t first_length, const void *second, size_t second_length)
{
	pg_cryptohash_ctx *ctx = session_hash();
	Digest		hash;

	if (pg_cryptohash_init(ctx) < 0 ||
		pg_cryptohash_update(ctx, first, first_length) < 0 ||
		(second_length > 0 && pg_cryptohash_update(ctx, second, second_length) < 0) ||
		pg_cryptohash_final(ctx, hash.bytes, sizeof(hash.bytes)) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(ctx));
	return hash;
}

/* SHA-256 of the bytes. */
Digest
hash_digest(const void *data, size_t length)
{
	return digest_of(data, length, NULL, 0);
}

/* SHA-256 of a hash followed by the bytes: the link of a chain. */
Digest
hash_pair(const Digest *first, const void *data, size_t length)
{
	return digest_of(first->bytes, sizeof(first->bytes), data, length);
}

/* SHA-256 of the bytes in hexadecimal; palloc'd. */
char *
hash_hex(const void *data, size_t length)
{
	Digest		hash = hash_digest(data, length);
	char	   *hex = palloc(2 * sizeof(hash.bytes) + 1);

	hex[hex_encode((const char *) hash.bytes, sizeof(hash.bytes), hex)] = '\0';
	return hex;
}

/* As bytea; palloc'd. */
bytea *
hash_bytea(const Digest *hash)
{
	bytea	   *result = palloc(VARHDRSZ + sizeof(hash->bytes));

	SET_VARSIZE(result, VARHDRSZ + sizeof(hash->bytes));
	memcpy(VARDATA(result), hash->bytes, sizeof(hash->bytes));
	return result;
}
