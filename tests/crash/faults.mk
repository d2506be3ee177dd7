# Power cuts on a disk of our own making, and other faults from outside of the programs.
POWER := $(addprefix $(BUILD)/crash/power/,disk replay spool nosync.so)
PRELOADED := $(BUILD)/crash/power/nosync.so $(BUILD)/crash/clock/jump.so

$(BUILD)/crash/power/disk: tests/crash/power/disk_main.c tests/crash/power/log.h
	@mkdir -p $(@D)
	$(COMPILE) $(shell pkg-config --cflags fuse3) -o $@ $< $(LDFLAGS) $(shell pkg-config --libs fuse3)

$(PRELOADED): $(BUILD)/crash/%.so: tests/crash/%.c
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE -O2 $(WARNINGS) -shared -fPIC -o $@ $< -ldl

$(BUILD)/crash/power/%: $(BUILD)/tests/crash/power/%_main.o $(call archives,spool)
	@mkdir -p $(@D)
	$(COMPILE) -o $@ $^ $(LDFLAGS) $(LIBS)

power-cut: all $(POWER) ## CUTS=120 power cuts under spool and lake, bad sectors; root, or POWER_CUT=skip
	BIDLAKE_BUILD=$(BUILD) POWER_TOOLS=$(BUILD)/crash/power $(PYTHON) tests/crash/power_cut.py \
		--cuts $(or $(CUTS),120) --lake-cuts $(or $(LAKE_CUTS),12)
	BIDLAKE_BUILD=$(BUILD) POWER_TOOLS=$(BUILD)/crash/power $(PYTHON) tests/crash/bad_sector.py

OUTSIDE = BIDLAKE_BUILD=$(BUILD) CLOCK_TOOLS=$(BUILD)/crash/clock $(PYTHON) tests/crash
faults-short: all $(PRELOADED)
	$(OUTSIDE)/syscall_faults.py
	$(OUTSIDE)/full_disk.py
	$(OUTSIDE)/clock_jumps.py --jumps 6
	$(OUTSIDE)/kill_soak.py --seconds 6
	$(OUTSIDE)/source_kills.py --kills 5
	$(OUTSIDE)/sick_disk.py --failures 2
	$(OUTSIDE)/full_load.py
	$(OUTSIDE)/small_disk.py

faults: all $(PRELOADED) ## system calls fail in turn, disks are full at each step, clocks leap: 25 min
	$(OUTSIDE)/sick_disk.py --failures 50
	$(OUTSIDE)/full_load.py --rounds 20
	$(OUTSIDE)/small_disk.py
	$(OUTSIDE)/clock_jumps.py --jumps 200
	$(OUTSIDE)/full_disk.py --all --verbose
	$(OUTSIDE)/syscall_faults.py --all --verbose

source-kills: all ## SOURCE_KILLS=50 of a daemon under load from every kind of source
	$(OUTSIDE)/source_kills.py --kills $(or $(SOURCE_KILLS),50)

soak-kills: all ## KILL_SECONDS=600 of a lake at work whose processes are killed and stopped
	$(OUTSIDE)/kill_soak.py --seconds $(or $(KILL_SECONDS),600)

.PHONY: power-cut faults faults-short soak-kills source-kills
