# eventmkt: a PostgreSQL extension. `make demo` and `make test` do their own set-up; `make`, `make install` are plain PGXS.
#
# FLOORS is the architecture: a file includes only layers on a floor further left, and the same floor does not see
# itself. Object order, the order of the generated SQL and the check (test/check) read this one line.
FLOORS = base | profile template analytics experiment | event | rule | track | segment predict catalog | trigger | gate | deliver | worker | report | admin

# the targets of the harness need nothing installed yet, so they stay clear of PGXS
ifneq ($(filter test test-% nightly-% check regress isolation tap unit demo fuzz bench bench-% sandbox setup deb dist META.json,$(MAKECMDGOALS)),)
include test/test.mk
else

EXTENSION  = eventmkt
EXTVERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" eventmkt.control)
LAYERS     := $(filter-out |,$(FLOORS))

SRCS := src/eventmkt.c $(foreach l,$(LAYERS),$(sort $(wildcard src/$(l)/*.c)))
HDRS := $(wildcard src/*/*.h)
MODULE_big = eventmkt
OBJS := $(SRCS:.c=.o) build/tables.o build/versions.o $(EMK_OBJS)
FROZEN     := $(filter-out $(EXTVERSION),$(patsubst versions/eventmkt--%.sql,%,$(sort $(wildcard versions/eventmkt--*.sql))))
DATA       = $(FROZEN:%=versions/eventmkt--%.sql)
DATA_built = build/eventmkt--$(EXTVERSION).sql $(FROZEN:%=build/eventmkt--%--$(EXTVERSION).sql)
EXTRA_CLEAN = build

PG_CPPFLAGS = -Isrc -DEMK_VERSION='"$(EXTVERSION)"' $(shell curl-config --cflags) $(EMK_CPPFLAGS)
PG_CFLAGS = -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers \
            -Wno-declaration-after-statement $(EMK_CFLAGS)
# the server's own flags are those of the compiler that built it
ifneq ($(findstring clang,$(CC)),)
PG_CFLAGS += -Wno-unknown-warning-option -Wno-ignored-optimization-argument -Wno-ignored-attributes
endif
SHLIB_LINK = $(shell curl-config --libs)
override with_llvm := no

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(OBJS): $(HDRS) eventmkt.control

# the library with the pause points of src/base/pause.h, for tests that kill a process where it hurts; never installed by `make install`
.PHONY: pause
pause: build/pause/eventmkt.so
PAUSE_SRCS := $(shell grep -lE 'EMK_PAUSE_POINT|emk_base_init_pause' $(SRCS))
PAUSE_OBJS := $(PAUSE_SRCS:%.c=build/pause/%.o)
$(PAUSE_OBJS): build/pause/%.o: %.c $(HDRS)
	@mkdir -p $(@D)
	$(COMPILE.c) -DEMK_PAUSE_POINTS -o $@ $<
build/pause/eventmkt.so: $(PAUSE_OBJS) $(filter-out $(PAUSE_SRCS:.c=.o),$(OBJS))
	$(LINK.shared) -o $@ $^ $(LDFLAGS) $(LDFLAGS_SL) $(SHLIB_LINK)

# the install script: the state of each layer, then its routines, in floor order
SQL_PARTS := $(foreach l,$(LAYERS),$(wildcard src/$(l)/$(l).sql))
build/eventmkt--$(EXTVERSION).sql: src/eventmkt.sql $(SQL_PARTS)
	@mkdir -p build
	{ printf '%s\n' '\echo Use "CREATE EXTENSION eventmkt" to load this file. \quit'; sed 's/@VERSION@/$(EXTVERSION)/' $^; } > $@

# from each frozen version to this one, and what the library knows of them
build/eventmkt--%--$(EXTVERSION).sql: versions/eventmkt--%.sql build/eventmkt--$(EXTVERSION).sql versions/update $(wildcard versions/hand-*.sql)
	perl versions/update sql $< build/eventmkt--$(EXTVERSION).sql $(EXTVERSION) > $@.part && mv $@.part $@
build/versions.c: build/eventmkt--$(EXTVERSION).sql $(DATA) versions/update
	perl versions/update c $< $(EXTVERSION) $(DATA) > $@.part && mv $@.part $@

# what eventmkt.init() runs, as one C string: tables, indexes, views and triggers of each layer, in floor order
TABLE_PARTS := $(foreach l,$(LAYERS),$(wildcard src/$(l)/$(l).tables.sql))
build/tables.c: $(TABLE_PARTS)
	@mkdir -p build
	{ echo '#include "postgres.h"'; echo '#include "base/base.h"'; echo 'const char *const emk_base_tables[] = {'; \
	  for f in $^; do sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/"/' -e 's/$$/\\n"/' $$f; echo ','; done; \
	  echo 'NULL};'; } > $@

endif
