# Makefile of the PostgreSQL extension billing.
#
#   make && make install && make installcheck   for packagers, against a running server
#   make test                                   everything from nothing, in a folder that goes again
#   make help                                   the other targets
#
# The version is written in billing.control only.

.DEFAULT_GOAL := all

SOURCE := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
HERE := $(abspath $(SOURCE))
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(SOURCE)/billing.control)

# The modules in the order in which they may know each other; the one manifest of what is compiled
# and of what the install script is made of.
MODULES_ORDER = lib pricing catalog account event subscription usage charge invoice payment dunning run worker report

module_files = $(foreach module,$(MODULES_ORDER),$(wildcard $(SOURCE)/src/$(module)/$(1)))

# --- Library ---

C_FILES := $(wildcard $(SOURCE)/src/*.c) $(call module_files,*.c)
H_FILES := $(wildcard $(SOURCE)/src/*.h) $(call module_files,*.h)
# WERROR=0 is for compilers that warn of what the server's own flags and headers do.
WARNINGS = -Wall -Wextra $(if $(filter 0,$(WERROR)),,-Werror) -Wno-unused-parameter

MODULE_big = billing
OBJS = $(patsubst $(SOURCE)/%.c,%.o,$(C_FILES))
PG_CPPFLAGS = -I$(SOURCE)/src -DBILLING_VERSION='"$(EXTVERSION)"' $(if $(filter 1,$(ASSERTIONS)),-DUSE_ASSERT_CHECKING)
PG_CFLAGS = $(WARNINGS)
# No bitcode: it would make clang a requirement, and nothing here gains from inlining.
override with_llvm := no

# --- Install script, and one for the update from each older version ---

SCRIPT = billing--$(EXTVERSION).sql
OLD_VERSIONS := $(foreach file,$(notdir $(wildcard $(SOURCE)/src/updates/billing--*--*.sql)),$(word 2,$(subst --, ,$(file))))
UPDATE_SCRIPTS = $(OLD_VERSIONS:%=billing--%--$(EXTVERSION).sql)
SCRIPT_PARTS := $(wildcard $(SOURCE)/src/install/* $(SOURCE)/src/updates/*.sql) $(call module_files,tables.sql) \
	$(foreach module,$(MODULES_ORDER),$(wildcard $(SOURCE)/src/$(module)/*.sql))

EXTENSION = billing
DATA_built = $(SCRIPT) $(UPDATE_SCRIPTS)
EXTRA_CLEAN = $(DATA_built) results regression.diffs regression.out output_iso tmp_check tmp_check_iso

# --- Tests of a running server; `make test` runs more ---

names = $(sort $(basename $(notdir $(wildcard $(SOURCE)/$(1)))))
REGRESS = $(call names,sql/*.sql)
ISOLATION = $(call names,test/isolation/specs/*.spec)
ISOLATION_OPTS = --inputdir=$(SOURCE)/test/isolation

# --- The server's build rules, where they exist ---

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

ifneq ($(wildcard $(PGXS)),)
include $(PGXS)

# Builds without dependency tracking: any header may matter to any file.
$(OBJS): $(H_FILES) $(SOURCE)/Makefile $(SOURCE)/billing.control

$(DATA_built): $(SCRIPT_PARTS) $(SOURCE)/Makefile $(SOURCE)/billing.control

$(SCRIPT):
	sh $(SOURCE)/src/install/assemble.sh $(SOURCE)/src $(EXTVERSION) - $(MODULES_ORDER) > $@.tmp
	mv $@.tmp $@

$(UPDATE_SCRIPTS): billing--%--$(EXTVERSION).sql:
	sh $(SOURCE)/src/install/assemble.sh $(SOURCE)/src $(EXTVERSION) $* $(MODULES_ORDER) > $@.tmp
	mv $@.tmp $@

# A build in another folder needs folders for its objects; and stories include a file by its path
# below the source, so it gets a link to that.
ifneq ($(HERE),$(CURDIR))
$(shell mkdir -p $(sort $(dir $(OBJS))))
installcheck: sql/include
sql/include:
	mkdir -p sql
	ln -sfn $(HERE)/sql/include $@
endif

else
all install installcheck:
	@echo "billing: $(PG_CONFIG) names no PGXS; install the server's development files (on Debian 12:" \
	     "postgresql-server-dev-15) or set PG_CONFIG=/path/to/pg_config" >&2; exit 1
clean:
	rm -rf $(EXTRA_CLEAN) $(OBJS) billing.so
endif

# --- Everything from nothing: packages, a copy of the tree, a server of its own ---

# File of the real subscribers that one test bills.
TELCO_CSV ?= $(HERE)/../shared/data/telco.csv

SELF_CONTAINED = test test-long demo demo-psql bench doc

.PHONY: $(SELF_CONTAINED) $(addprefix prepared-,$(SELF_CONTAINED)) html coverage help format check-format dist

$(SELF_CONTAINED):
	@exec env PG_CONFIG='$(PG_CONFIG)' PG_CONFIG_ORIGIN='$(origin PG_CONFIG)' NO_INSTALL='$(NO_INSTALL)' \
		sh $(HERE)/test/bin/prepare.sh $@
	@$(MAKE) --no-print-directory -f $(HERE)/Makefile prepared-$@

$(addprefix prepared-,$(SELF_CONTAINED)):
	@exec env PG_CONFIG='$(PG_CONFIG)' ASSERTIONS='$(ASSERTIONS)' TELCO_CSV='$(abspath $(TELCO_CSV))' \
		KINDS='$(KINDS)' ONLY='$(ONLY)' JOBS='$(JOBS)' MAKE='$(MAKE)' \
		sh $(HERE)/test/bin/sandbox.sh $(@:prepared-%=%)

# Pages as HTML; no server is needed.
html:
	@exec env PG_CONFIG='$(PG_CONFIG)' NO_INSTALL='$(NO_INSTALL)' sh $(HERE)/test/bin/prepare.sh $@
	@exec sh $(HERE)/doc/bin/html.sh $(HERE)/build/html

coverage:
	@$(MAKE) --no-print-directory -f $(HERE)/Makefile test-long KINDS=coverage

help:
	@sed -n 's/^#   \(make .*\)/\1/p; s/^#: //p' $(SOURCE)/Makefile

#: make test-long             make test and what takes longer
#: make coverage              the share of C lines that the tests reach, and those that they do not
#: make dist                  the archive for PGXN, of the last commit
#: make demo                  three months of a small internet provider
#: make demo-psql             the same, then psql on it
#: make bench                 benchmarks, ratios measured in one run
#: make doc                   the reference and the pictures of doc/ anew, from the catalog and the source
#: make html                  all pages as HTML in build/html
#: make format                pgindent's format for the C files;  make check-format only tells
#:   PG_CONFIG=...            the server to build for and to test with (14 to 18)
#:   NO_INSTALL=1             install no package
#:   ASSERTIONS=1             compile the extension's assertions in
#:   KINDS='regress tap'      only these kinds of: static package fuzz regress isolation pgtap tap;
#:                            of test-long also: sanitizer valgrind coverage
#:   FUZZ_SECONDS=60          of processor time for the fuzzer; test-long 1200
#:   FUZZ_SEED=1              its random numbers; 0, and in test-long: others each time
#:   JOBS=2                   so many pgTAP and TAP tests at a time; default: one for each processor
#:   ONLY=word                only tests with this word in their names
#:   TELCO_CSV=file           the real subscribers; default ../shared/data/telco.csv
#:   BENCH_ACCOUNTS=20000     bench with fewer accounts than 200000; BENCH_ROWS, BENCH_PASSES likewise
#:   KEEP=1                   keep the temporary folder

# --- Source format ---

# Data has the format of its source.
FORMATTED = $(filter-out %_data.h,$(C_FILES) $(H_FILES))

format:
	sh $(SOURCE)/test/bin/format.sh $(FORMATTED)

check-format:
	sh $(SOURCE)/test/bin/format.sh --check $(FORMATTED)

# --- Archive for PGXN ---

dist:
	git -C $(SOURCE) archive --format=zip --prefix=billing-$(EXTVERSION)/ --output=$(CURDIR)/billing-$(EXTVERSION).zip HEAD
