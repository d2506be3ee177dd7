# SPDX-License-Identifier: Apache-2.0
# Each rule of the protocol switched off once, in a copy: what finds it, and how soon.
MUTANTS = $(PYTHON) tests/crash/mutants.py --build $(BUILD) --compile '$(subst ','\'',$(COMPILE) $(LDFLAGS))' \
	--libs "$(LIBS)" --program simulation="$(BUILD)/tests/crash/simulation_main.o $(CRASH_PARTS)" \
	$(foreach s,$(notdir $(SCENARIOS)),--program $(s)="$(BUILD)/tests/crash/$(s).o $(CRASH_PARTS)")

mutants: $(BUILD)/crash/simulation $(SCENARIOS) ## each rule switched off: how many schedules until it is found
	@$(MUTANTS) $(if $(MUTANT),--only $(MUTANT))

mutants-quick: $(BUILD)/crash/simulation $(SCENARIOS)
	@$(MUTANTS) --quick

.PHONY: mutants mutants-quick
