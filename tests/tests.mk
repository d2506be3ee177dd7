# Tests. tests/unit/<module>_test.c is built against the module's archive and those below
# it, tests/fuzz/<module>_<what>_fuzz.c likewise; slashes of the module become
# underscores: lib_parquet_writer_test.c belongs to lib/parquet, spool_append_test.c to
# spool. The longest module name that fits is taken.

UNIT_SOURCES := $(wildcard tests/unit/*_test.c)
FUZZ_SOURCES := $(wildcard tests/fuzz/*_fuzz.c)
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(UNIT_SOURCES))
FUZZ := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(FUZZ_SOURCES))

module_of = $(lastword $(foreach m,$(MODULES),$(if $(filter $(subst /,_,$(m))_%,$(1)),$(m))))

define unit_rules
$(BUILD)/unit/$(1): $(BUILD)/tests/unit/$(1).o $(call archives,$(call module_of,$(1)))
	@mkdir -p $$(@D)
	$$(COMPILE) -o $$@ $$^ $$(LDFLAGS) -lcmocka $$(LIBS)
endef
$(foreach t,$(notdir $(UNIT)),$(eval $(call unit_rules,$(t))))

define fuzz_rules
$(BUILD)/fuzz/$(1): $(BUILD)/tests/fuzz/$(1).o $(BUILD)/tests/fuzz/replay.o \
		$(call archives,$(call module_of,$(1)))
	@mkdir -p $$(@D)
	$$(COMPILE) -o $$@ $$^ $$(LDFLAGS) $$(LIBS)
endef
$(foreach t,$(notdir $(FUZZ)),$(eval $(call fuzz_rules,$(t))))

# The same target for the fuzzer itself: clang's, with everything under it instrumented.
# make CC=clang SAN=fuzzer-no-link,address,undefined build/.../libfuzzer/<target>
# Those whose input is JSON change it as a tree, too.
FUZZ_JSON := lib_aws_credentials lib_announce_announcement lib_announce_contract lib_announce_ledger lib_announce_receipt \
	lib_iceberg_metadata lib_shred_event lib_shred_tree cloud_turn cloud_table cloud_door_notice cloud_rest_config \
	cloud_rest_table
define libfuzzer_rules
$(BUILD)/libfuzzer/$(1): $(BUILD)/tests/fuzz/$(1).o \
		$(if $(filter $(FUZZ_JSON:=_fuzz),$(1)),$(BUILD)/tests/fuzz/mutator_json.o) \
		$(call archives,$(call module_of,$(1)))
	@mkdir -p $$(@D)
	$$(COMPILE) -fsanitize=fuzzer,address,undefined -o $$@ $$^ $$(LDFLAGS) $$(LIBS)
endef
$(foreach t,$(notdir $(FUZZ)),$(eval $(call libfuzzer_rules,$(t))))

# Makes files for tests/interop/parquet_readers.py.
$(BUILD)/interop/parquet_make: $(BUILD)/tests/interop/parquet_make.o $(call archives,lib/parquet)
	@mkdir -p $(@D)
	$(COMPILE) -o $@ $^ $(LDFLAGS) $(LIBS)

# The simulation: agents and committers in one process. tests/crash/*_main.c and *_test.c
# are programs, the other files there are what they share.
CRASH_SHARED := $(filter-out %_main.c %_test.c,$(wildcard tests/crash/*.c))
CRASH_PARTS := $(CRASH_SHARED:%.c=$(BUILD)/%.o) $(sort $(call archives,agent) \
	$(call archives,cloud))
SCENARIOS := $(patsubst tests/crash/%.c,$(BUILD)/crash/%,$(wildcard tests/crash/scenarios_*_test.c))
SCHEDULES ?= 10000
SOAK_SCHEDULES ?= 1000000
SOAK_FIRST ?= 100000
SIMULATION_JOBS ?= 2

$(BUILD)/crash/simulation: $(BUILD)/tests/crash/simulation_main.o $(CRASH_PARTS)
	@mkdir -p $(@D)
	$(COMPILE) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group \
		$(LDFLAGS) $(LIBS)

$(SCENARIOS): $(BUILD)/crash/%: $(BUILD)/tests/crash/%.o $(CRASH_PARTS)
	@mkdir -p $(@D)
	$(COMPILE) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group \
		$(LDFLAGS) -lcmocka $(LIBS)

scenarios: $(SCENARIOS) ## the protocol's named scenarios
	@tests/run_all.sh $^

simulation: $(BUILD)/crash/simulation ## SCHEDULES=10000 seeded schedules, and that broken parts are found
	@$< --control 300
	@$< --schedules $(SCHEDULES) --jobs $(SIMULATION_JOBS)

soak: $(BUILD)/crash/simulation ## SOAK_SCHEDULES=1000000 of them on all cores; goes on where it stopped
	@mkdir -p build/soak
	@nice -n 19 $< --schedules $(SOAK_SCHEDULES) --first $(SOAK_FIRST) --jobs 0 \
		--state build/soak/from-$(SOAK_FIRST)

include tests/crash/faults.mk
include tests/crash/mutants.mk

# Makes a table for tests/interop/iceberg_manifest.py, and reads PyIceberg's.
$(BUILD)/interop/iceberg_make: $(BUILD)/tests/interop/iceberg_make.o $(call archives,lib/iceberg)
	@mkdir -p $(@D)
	$(COMPILE) -o $@ $^ $(LDFLAGS) $(LIBS)

# The same checks against any store, for tests/interop/test_s3.py.
$(BUILD)/interop/objstore_conformance: $(BUILD)/tests/interop/objstore_conformance.o \
		$(call archives,lib/objstore)
	@mkdir -p $(@D)
	$(COMPILE) -o $@ $^ $(LDFLAGS) $(LIBS)

# What environment and shared files mean to us, for tests/interop/test_botocore.py.
$(BUILD)/interop/aws_find: $(BUILD)/tests/interop/aws_find.o $(call archives,lib/aws)
	@mkdir -p $(@D)
	$(COMPILE) -o $@ $^ $(LDFLAGS) $(LIBS)

# One file through committer and sqlite catalog, for tests/interop/catalog_readers.py.
$(BUILD)/interop/catalog_make: $(BUILD)/tests/interop/catalog_make.o $(call archives,cloud)
	@mkdir -p $(@D)
	$(COMPILE) -o $@ $^ $(LDFLAGS) $(LIBS)

PICKED := $(if $(T),$(foreach t,$(UNIT),$(if $(findstring $(T),$(t)),$(t))),$(UNIT))
unit: $(PICKED) ## unit tests alone; T=<part of a name> picks some
	@tests/run_all.sh $(PICKED)

# The Python that has pyarrow, DuckDB and PyIceberg, by packaging/install-dependencies.sh.
VENV ?= .cache/venv
PYTHON := $(VENV)/bin/python
INTEROP := $(addprefix $(BUILD)/interop/,parquet_make iceberg_make catalog_make objstore_conformance \
	aws_find)

check: unit corpus ## unit tests, golden files, corpora: no network, no root, under a minute

readers: all $(INTEROP) ## foreign readers and writers over what single modules write
	$(PYTHON) tests/interop/parquet_readers.py $(BUILD)/interop/parquet_make
	$(PYTHON) tests/interop/iceberg_manifest.py $(BUILD)/interop/iceberg_make
	$(PYTHON) tests/interop/catalog_readers.py $(BUILD)/interop/catalog_make $(BUILD)/bidlake-table
	@echo "3 suites of foreign readers passed, 0 failed"

# The foreign programs lie in .cache/peers, what builds and runs them in .cache/tools, where the machine has none that fits.
interop: ## real servers: S3, Apache's REST catalog with INTEROP_SCHEDULES=100 of faults, foreign readers
	@packaging/install-dependencies.sh build test python interop
	@$(MAKE) --no-print-directory all $(INTEROP) $(BUILD)/crash/clock/jump.so
	BIDLAKE_BUILD=$(BUILD) CLOCK_TOOLS=$(BUILD)/crash/clock INTEROP_BUILD=$(CURDIR)/$(BUILD)/interop BIDLAKE_TEST_PATIENCE=$(or $(BIDLAKE_TEST_PATIENCE),4) \
		INTEROP_COMPILE='$(subst ','\'',$(COMPILE) $(LDFLAGS))' INTEROP_LIBS="$(LIBS)" \
		INTEROP_COMMIT="$(BUILD)/cloud/commit_main.o $(call archives,cloud)" \
		$(PYTHON) tests/e2e/run.py $(or $(INTEROP_FILES),$(wildcard $(CURDIR)/tests/interop/test_*.py))
.PHONY: interop

e2e: all $(BUILD)/crash/clock/jump.so ## the real programs, judged by PyIceberg, DuckDB and pyarrow
	BIDLAKE_BUILD=$(BUILD) CLOCK_TOOLS=$(BUILD)/crash/clock $(PYTHON) tests/e2e/run.py

page-test: ## the operations page in a headless browser, its figures and alerts by promtool
	@packaging/install-dependencies.sh build test page python
	@$(MAKE) --no-print-directory WERROR=-Werror all
	BIDLAKE_BUILD=$(BUILD) $(PYTHON) tests/e2e/run.py tests/page/test_page.py \
		tests/page/test_promtool.py
.PHONY: page-test

kills: all ## SIGKILL at each named point of agent and committer; KILLS=20 random ones besides
	BIDLAKE_BUILD=$(BUILD) $(PYTHON) tests/crash/kill_matrix.py --random $(or $(KILLS),20)

crash: scenarios simulation kills soak-kills source-kills power-cut ## both, longer: make crash SCHEDULES=20000 KILLS=200

test-programs: all $(UNIT) $(FUZZ) $(SCENARIOS) $(INTEROP) $(BUILD)/crash/simulation $(POWER)
.PHONY: test-programs

test: ## installs what is missing, builds, runs all tests
	@packaging/install-dependencies.sh build test python
	@$(MAKE) --no-print-directory -j2 WERROR=-Werror test-programs
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory -j2 -O -k e2e readers scenarios simulation mutants-quick \
		kills power-cut faults-short package-check \
		SCHEDULES=$(if $(filter file,$(origin SCHEDULES)),2000,$(SCHEDULES))

corpus: $(FUZZ) ## each decoder over the inputs that were found
	@tests/fuzz/corpus.sh $(FUZZ)

golden: $(filter %_golden_test %_contract_test,$(UNIT)) ## rewrite tests/golden; review the diff
	@for test in $^; do GOLDEN_UPDATE=1 $$test || exit 1; done

fuzz: ## FUZZ_SECONDS=10 of libFuzzer for each decoder (clang)
	@packaging/install-dependencies.sh build fuzz
	@tests/fuzz/fuzz.sh $(notdir $(FUZZ))

fuzz-coverage: ## lines and branches that the corpora reach (clang)
	@tests/fuzz/coverage.sh
.PHONY: fuzz-coverage

doors: all ## the doors under load and under attack; LOAD_EVENTS=20000 MUTATIONS=5000
	BIDLAKE_LOAD_EVENTS=$(or $(LOAD_EVENTS),20000) BIDLAKE_MUTATIONS=$(or $(MUTATIONS),5000) \
		BIDLAKE_BUILD=$(BUILD) $(PYTHON) tests/e2e/run.py \
		$(addprefix tests/e2e/,test_load.py test_doors.py test_run.py test_activation.py)

sanitize-doors: ## the same under TSan, then under ASan and UBSan: about two minutes
	@STEPS=doors tests/sanitize.sh thread address,undefined
.PHONY: doors sanitize-doors

sanitize: ## unit, corpus, scenarios, simulation, e2e under ASan and UBSan, then TSan; SCHEDULES=200
	@SCHEDULES=$(if $(filter file,$(origin SCHEDULES)),200,$(SCHEDULES)) tests/sanitize.sh
.PHONY: sanitize

lint: ## layers, lengths, banned calls, format; and that lint finds them
	@tests/lint/lint.sh
	@tests/lint/lint_test.sh

analyze: ## cppcheck and clang's analyzer, some minutes the first time; new findings fail
	@tests/lint/analyze.sh
.PHONY: analyze

demo: ## the whole way, with a report; DEMO_EVENTS=200000 DEMO_DIR=./demo
	@packaging/install-dependencies.sh build test python
	@$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$$(nproc)) all
	@BIN=$(BUILD) tests/demo.sh

$(BUILD)/bench/spool_append: $(BUILD)/tests/bench/spool_append.o $(call archives,spool)
	@mkdir -p $(@D)
	$(COMPILE) -o $@ $^ $(LDFLAGS) $(LIBS)

bench-spool: $(BUILD)/bench/spool_append ## durable appends against a bare LMDB loop, on this disk
	@mkdir -p build/bench
	$< build/bench

$(BUILD)/bench/slow_sync.so: tests/bench/slow_sync.c
	@mkdir -p $(@D)
	$(COMPILE) -shared -fPIC -o $@ $<

bench-commit: all $(BUILD)/bench/slow_sync.so ## a turn over 10 to 1,000 announcements, in a folder and over S3 and REST; BENCH_RUNS=3; build/bench-commit.json
	@packaging/install-dependencies.sh build test python
	@$(PYTHON) -B tests/bench/commit_turn.py --build $(BUILD) --cloud 100,1000 --json build/bench-commit.json

bench-outage: all ## 100,800 announcements that piled up in a day, over S3 and REST; build/bench-outage.json
	@packaging/install-dependencies.sh build test python
	@$(PYTHON) -B tests/bench/outage.py --build $(BUILD) --json build/bench-outage.json

$(BUILD)/bench/s3_upload: $(BUILD)/tests/bench/s3_upload.o $(call archives,lib/objstore)
	@mkdir -p $(@D)
	$(COMPILE) -o $@ $^ $(LDFLAGS) $(LIBS)

bench-s3: $(BUILD)/bench/s3_upload ## 1 GiB in parts into an S3 store, beside aws s3 cp; BENCH_RUNS=5; build/bench-s3.json
	@packaging/install-dependencies.sh build test python
	@$(PYTHON) -B tests/bench/s3_upload.py --build $(BUILD) --json build/bench-s3.json

# The C++ side is built as its makers want it.
$(BUILD)/bench/shred_simdjson.o: tests/bench/shred_simdjson.cpp tests/bench/shred_simdjson.h
	@mkdir -p $(@D)
	$(CXX) -std=c++17 -O3 -DNDEBUG -Wall -DSIMDJSON_THREADS_ENABLED=1 -pthread -c -o $@ $<

$(BUILD)/bench/shred_speed: $(BUILD)/tests/bench/shred_speed.o $(BUILD)/bench/shred_simdjson.o \
		$(call archives,lib/shred)
	@mkdir -p $(@D)
	$(CXX) -o $@ $^ $(LDFLAGS) -lsimdjson $(LIBS)

# The file of tests/bench/bench.py.
BENCH_EVENTS := build/bench/bid_requests-20260131-340000.ndjson

bench-shred: ## the shredder against simdjson's DOM parser, by CPU
	@packaging/install-dependencies.sh build bench
	@$(MAKE) --no-print-directory all $(BUILD)/bench/shred_speed
	@mkdir -p build/bench
	@[ -s $(BENCH_EVENTS) ] || $(BUILD)/bidlake-gen --table bid_requests --count 340000 \
		--seed 20260131 --start 2026-01-31T12:00:00Z --events-per-second 0 \
		>$(BENCH_EVENTS) 2>/dev/null
	@$(BUILD)/bench/shred_speed $(BENCH_EVENTS)

bench-run: ## the daemon under load, beside Fluent Bit where FLUENT_BIT names one; BENCH_RATE=50000 BENCH_SECONDS=20; build/bench-run.json
	@packaging/install-dependencies.sh build bench
	@$(MAKE) --no-print-directory all
	@python3 -B tests/bench/daemon.py --build $(BUILD) --json build/bench-run.json

bench: ## ingest + commit against DuckDB, by CPU, then bench-run; BENCH_RUNS=5; build/bench.json and pictures
	@packaging/install-dependencies.sh build test bench python
	@$(MAKE) --no-print-directory all
	@.cache/venv/bin/python tests/bench/bench.py --build $(BUILD)
	@python3 -B tests/bench/daemon.py --build $(BUILD) --json build/bench-run.json

format: ## clang-format over all sources
	clang-format -i $$(git ls-files '*.c' '*.h')

.PHONY: check readers scenarios simulation soak e2e kills crash test unit corpus golden fuzz lint demo bench bench-spool \
	bench-commit bench-outage bench-s3 bench-shred bench-run format
