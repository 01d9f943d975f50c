# pay_idem: an order is paid once.
#
# make, make install, make installcheck: as for any extension that is built with
# PGXS; PG_CONFIG=... chooses the PostgreSQL installation. installcheck tests on a
# server that runs, whatever its settings; PGHOST, PGPORT and PGUSER say which one.
# make test, make test-long, make test-alone, make test-versions, make test-fuzz,
# make test-hard, make test-drivers, make lint, make demo, make bench: need nothing but
# Debian. They install the packages that are missing, of the newest PostgreSQL that apt
# has (or PG_CONFIG's), and work in a throw-away installation and server (test/with-server):
# nothing is installed into the system's PostgreSQL, nothing stays behind; but test-hard
# keeps the PostgreSQL that it builds in a cache directory.

EXTENSION = pay_idem
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" $(EXTENSION).control)
MODULE_big = $(EXTENSION)
PGFILEDESC = "pay_idem - an order is paid once"

ROOM_HEADERS := $(wildcard src/*.h)
OBJS := $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))

# The extension script: sql/ in the order in which its objects need each other.
# label_type.sql.in makes one type of labels, so it comes once per type.
LABEL_TYPES = pay_state pay_decision pay_refund_state
SQL_PARTS = $(addprefix sql/, machine.sql number.sql answer.sql prepay.sql close.sql report.sql batch.sql refund.sql dispute.sql hold.sql claim.sql import.sql guard.sql store.sql tables.sql install.sql rights.sql)
DATA_built = $(EXTENSION)--$(EXTVERSION).sql
DOCS := $(wildcard doc/*.md doc/*.svg)

# Inputs are in test/sql and test/specs (sql/ is the extension's own), expected
# output of both is in expected/. Each can run alone, and in any order: REGRESS=...
# and ISOLATION=... choose.
REGRESS := $(sort $(basename $(notdir $(wildcard test/sql/*.sql))))
ISOLATION := $(sort $(basename $(notdir $(wildcard test/specs/*.spec))))
REGRESS_OPTS = --inputdir=test
ISOLATION_OPTS = --inputdir=test
# Whatever the cluster's own: sort order and texts are in the expected output.
ENCODING ?= UTF8
NO_LOCALE = 1
# The rule is below: that of PGXS stops where REGRESS fails.
NO_INSTALLCHECK = 1

# Goals that must work before PostgreSQL's makefiles are installed.
STANDALONE = test test-long test-alone test-versions test-fuzz test-hard test-drivers lint demo bench
.PHONY: $(STANDALONE)

ifneq ($(filter-out $(STANDALONE),$(or $(MAKECMDGOALS),all)),)
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifeq ($(wildcard $(PGXS)),)
$(error PG_CONFIG=$(PG_CONFIG) leads to no makefiles and headers of PostgreSQL. Debian has them in a package: sudo apt-get install postgresql-server-dev-all; for another PostgreSQL: make PG_CONFIG=/path/to/its/pg_config)
endif
include $(PGXS)

# 15's headers have functions that say nothing of their arguments, which C23 takes for none.
ifeq ($(MAJORVERSION),15)
override CFLAGS += -std=gnu17
endif

ifneq ($(filter all install,$(or $(MAKECMDGOALS),all)),)
ifeq ($(shell $(CC) -E -include stdio.h -x c /dev/null >/dev/null 2>&1 && echo works),)
$(error $(CC) does not compile C. On Debian: sudo apt-get install gcc libc6-dev; for another compiler: make CC=...)
endif
endif

# Before the first file is copied.
installdirs: may-install
.PHONY: may-install
may-install:
	@for directory in '$(DESTDIR)$(pkglibdir)' '$(DESTDIR)$(datadir)/extension'; do \
		[ ! -d "$$directory" ] || [ -w "$$directory" ] || { \
			echo "make install: $$(id -un) may not write to $$directory: sudo make install; without sudo: su -c 'make install'" >&2; exit 1; }; \
	done

$(OBJS) $(OBJS:.o=.bc): $(ROOM_HEADERS)

$(DATA_built): Makefile $(EXTENSION).control sql/head.sql sql/label_type.sql.in $(SQL_PARTS)
	cat sql/head.sql >$@
	for type in $(LABEL_TYPES); do sed "s/@TYPE@/$$type/g" sql/label_type.sql.in >>$@ || exit; done
	cat $(SQL_PARTS) >>$@

# What a role or the server sets is not the tests'. A spec's tables and functions are in
# schema iso. PostgreSQL 15 looks for a spec's expected output below output_iso, later
# ones here.
our_settings = -c default_transaction_isolation=read\ committed -c statement_timeout=0 -c lock_timeout=0
run_regress = PGOPTIONS="$$settings -c lc_messages=C -c search_path=public" && $(pg_regress_installcheck) $(REGRESS_OPTS) $(REGRESS)
run_isolation = PGOPTIONS="$$settings -c lc_messages=C -c search_path=iso,public" && $(pg_isolation_regress_installcheck) $(ISOLATION_OPTS) $(ISOLATION)
.PHONY: installcheck
installcheck: submake
	@export PGOPTIONS="$$PGOPTIONS $(our_settings)"; settings=$$PGOPTIONS; failed=0; \
	PSQL='$(bindir)/psql' test/ready $(EXTENSION) $(CONTRIB_TESTDB) $(ISOLATION_TESTDB) || exit; \
	mkdir -p output_iso && ln -sfn ../expected output_iso/expected || exit; \
	$(if $(strip $(REGRESS)),$(run_regress) || failed=1;) \
	$(if $(strip $(ISOLATION)),$(run_isolation) || failed=1;) \
	exit $$failed
endif

# Warnings are errors here and nowhere else: a newer compiler's new warning must
# not keep anybody from building. What PostgreSQL's own headers trigger is off.
test test-long test-versions: export COPT = -Werror -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wshadow
test:
	test/setup
	test/with-server test/run

# What is random in make test, ten times as long and with another seed for the world
# each time: a night's work. make test claims nothing that depends on it.
test-long: export STORM_ROUNDS = 30
test-long: export FIRE_TRANSACTIONS = 3000
test-long: export WORLD_ORDERS = 3000
test-long: export WORLD_CRASHES = 20
test-long: export WORLD_BUGS = 0
test-long:
	test/setup
	WORLD_SEED=$${WORLD_SEED:-$$(date +%s)} test/with-server test/run long

# The same on the PostgreSQL of Debian 12, 13 and sid, in chroots that are bare before.
test-versions:
	test/setup versions
	test/versions

# Each regress test and each isolation spec by itself.
test-alone:
	test/setup
	test/with-server --conf 'fsync = off' test/alone

# Every function, called in every place and with every kind of argument, beside DDL
# and damage: a minute of it with assertions in Debian's PostgreSQL, or ten with the
# sanitizers in one that is built for them, once. SEED=... does the same again,
# HARD_SECONDS=... is how long.
test-fuzz test-hard: export COPT = -Werror -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wshadow
test-fuzz:
	test/setup
	test/hard/run assertions

test-hard:
	test/setup hard
	test/hard/run sanitized

# The guides for other languages: every driver's program, every migration's recipe.
test-drivers:
	test/setup drivers
	test/with-server test/drivers/run

# What analyzers and checkers of layout and scripts find without running anything.
lint:
	test/setup lint
	test/lint

demo:
	test/setup
	test/with-server demo/run

bench:
	test/setup bench
	bench/run
