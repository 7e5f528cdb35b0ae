/*
 * context.h
 *		What a run keeps from batch to batch: prices, sellers, tax rates.
 */
#ifndef BILLING_RUN_CONTEXT_H
#define BILLING_RUN_CONTEXT_H

#include "catalog/tax.h"
#include "charge/timeline.h"
#include "utils/hsearch.h"

/* A seller as documents copy it. */
typedef struct Entity
{
	char	   *code;
	pg_tz	   *tz;
	Jsonb	   *snapshot;
} Entity;

typedef struct RunContext
{
	MemoryContext context;		/* everything below, and the struct */
	HTAB	   *prices;			/* (code, version, scheme) to Price */
	Entity	   *entities;
	int			nentities;
	TaxTable   *taxes;
	bool		read_only;		/* one snapshot for all: a preview */
} RunContext;

extern RunContext *run_context_create(MemoryContext parent, bool read_only);
extern void run_context_destroy(RunContext *run);
extern const Price *run_price(RunContext *run, const char *code, int version, Jsonb *scheme);
extern const Entity *run_entity(const RunContext *run, const char *code);

#endif							/* BILLING_RUN_CONTEXT_H */
