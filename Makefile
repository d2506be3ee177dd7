# bidlake: one file, not recursive. A module is a folder and its sources are whatever
# *.c lie in it; *_main.c are programs. `make help` lists the targets.

VERSION := 0.1.0
PREFIX ?= /usr/local
SAN ?=

# What each module may include, downwards only. `make lint` holds the #include lines to
# this table, and the link order comes from it.
DEPS_lib/base :=
DEPS_lib/json := lib/base
DEPS_lib/http := lib/base
DEPS_lib/http_client := lib/base
DEPS_lib/xml := lib/base
DEPS_lib/aws := lib/base lib/json lib/xml lib/http_client
DEPS_lib/yaml := lib/base
DEPS_lib/options := lib/base lib/yaml
DEPS_lib/schema := lib/base lib/json lib/yaml
DEPS_lib/row := lib/base lib/schema
DEPS_lib/shred := lib/base lib/schema lib/row
DEPS_lib/parquet := lib/base
DEPS_lib/avro := lib/base
DEPS_lib/iceberg := lib/base lib/avro lib/json lib/schema
DEPS_lib/objstore := lib/base lib/xml lib/http_client lib/aws
DEPS_lib/announce := lib/base lib/json lib/schema
DEPS_spool := lib/base
DEPS_uploader := lib/base lib/json lib/schema lib/objstore lib/announce spool
DEPS_agent/capture := lib/base lib/json lib/schema lib/row lib/shred lib/announce spool
DEPS_agent/input := lib/base
DEPS_agent/source := lib/base lib/json lib/http lib/schema lib/shred spool agent/capture
DEPS_agent/tail := lib/base lib/shred spool agent/capture agent/source agent/input
DEPS_agent := lib/base lib/json lib/yaml lib/options lib/schema lib/row lib/shred lib/parquet lib/objstore \
	lib/announce lib/http spool uploader agent/input agent/capture agent/source agent/tail
DEPS_agent/gen := lib/base
DEPS_cloud/catalog := lib/base lib/json lib/http_client lib/aws lib/iceberg lib/objstore
DEPS_cloud/door := lib/base lib/json lib/http lib/announce
DEPS_cloud := lib/base lib/json lib/http lib/options lib/schema lib/parquet lib/iceberg lib/objstore lib/announce \
	cloud/catalog cloud/door
MODULES := lib/base lib/json lib/http lib/http_client lib/xml lib/aws lib/yaml lib/options lib/schema lib/row lib/shred lib/parquet lib/avro lib/iceberg \
	lib/objstore lib/announce spool uploader agent/input agent/capture agent/source agent/tail agent agent/gen cloud/catalog cloud/door cloud

PROGRAMS := bidlake-agent bidlake-commit bidlake-table bidlake-gen
MAIN_bidlake-agent := agent/agent_main
MAIN_bidlake-commit := cloud/commit_main
MAIN_bidlake-table := cloud/table_main
MAIN_bidlake-gen := agent/gen/gen_main

comma := ,
BUILD := build/$(if $(SAN),san-$(subst $(comma),-,$(SAN)),$(if $(STATIC),static,release))
OPTIMIZE := $(if $(SAN),-O1 -fno-omit-frame-pointer -fsanitize=$(SAN) -fno-sanitize-recover=all,-O2)
WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	-Wno-format-truncation -Wno-unknown-warning-option $(WERROR)
COMPILE = $(CC) -std=c11 -D_GNU_SOURCE -DBIDLAKE_VERSION='"$(VERSION)"' -I. -g $(OPTIMIZE) $(WARNINGS) \
	-pthread -MMD -MP $(CPPFLAGS) $(CFLAGS)
LIBS := -Wl,--as-needed -llmdb -lzstd -lmbedcrypto -lcurl -lsqlite3 -ljansson -lyaml -lexpat -lz -lxxhash -lm -pthread
# STATIC=1, by "make static": nothing is taken from the machine that it runs on.
ifdef STATIC
CURL_STATIC := $(shell packaging/static.sh --where)
COMPILE += -I$(CURL_STATIC)/include -fPIE -fstack-protector-strong -D_FORTIFY_SOURCE=2 -ffunction-sections -fdata-sections
LIBS := -static-pie -s -Wl,--gc-sections,-z,relro,-z,now,-z,pack-relative-relocs \
	$(patsubst -lcurl,$(CURL_STATIC)/libcurl.a -lmbedtls -lmbedx509 -lmbedcrypto,$(LIBS))
endif

# closure of DEPS: a module, then all below it, each once, users before what they use
closure = $(1) $(foreach d,$(DEPS_$(1)),$(call closure,$(d)))
unique = $(if $(1),$(call unique,$(filter-out $(lastword $(1)),$(1))) $(lastword $(1)))
archive = $(BUILD)/$(subst /,_,$(1)).a
archives = $(foreach m,$(call unique,$(call closure,$(1))),$(call archive,$(m)))
sources = $(filter-out %_main.c,$(wildcard $(1)/*.c))
objects = $(patsubst %.c,$(BUILD)/%.o,$(call sources,$(1)))

all: $(addprefix $(BUILD)/,$(PROGRAMS)) ## build the programs

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(COMPILE) -c -o $@ $<

$(BUILD)/lib/schema/presets.inc: lib/schema/presets.awk $(wildcard lib/schema/presets/*.yaml)
	@mkdir -p $(@D)
	awk -f $^ >$@.tmp && mv $@.tmp $@
$(BUILD)/lib/schema/presets.o: $(BUILD)/lib/schema/presets.inc
$(BUILD)/lib/schema/presets.o: CPPFLAGS += -I$(BUILD)

$(BUILD)/agent/page.inc: agent/page/page.awk agent/page/index.html
	@mkdir -p $(@D)
	awk -f $^ >$@.tmp && mv $@.tmp $@
$(BUILD)/agent/operations.o: $(BUILD)/agent/page.inc
$(BUILD)/agent/operations.o: CPPFLAGS += -I$(BUILD)

define module_rules
$(call archive,$(1)): $(call objects,$(1))
	@mkdir -p $$(@D) && rm -f $$@
	ar rcs $$@ $$^
endef
$(foreach m,$(MODULES),$(eval $(call module_rules,$(m))))

define program_rules
$(BUILD)/$(1): $(BUILD)/$(MAIN_$(1)).o $(call archives,$(patsubst %/,%,$(dir $(MAIN_$(1)))))
	$$(COMPILE) -o $$@ $$^ $$(LDFLAGS) $$(LIBS)
endef
$(foreach p,$(PROGRAMS),$(eval $(call program_rules,$(p))))

include tests/tests.mk
include packaging/packaging.mk
include packaging/image/image.mk

clean: ## remove build/
	rm -rf build

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | sort | expand -t 14

.PHONY: all clean help
.SECONDARY:
-include $(shell find $(BUILD) -type f -name '*.d' 2>/dev/null)
