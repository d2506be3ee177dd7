# What a package holds besides the programs, and packages of it. Manual pages and completion
# are made from what the programs say of themselves.

SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system
MAN_PAGES := $(patsubst packaging/man/%.in,%,$(wildcard packaging/man/*.in))
UNITS := $(patsubst packaging/systemd/%,%,$(patsubst %.in,%,$(wildcard packaging/systemd/*.service.in packaging/systemd/*.socket)))
PRESETS := $(patsubst lib/schema/presets/%.yaml,%,$(wildcard lib/schema/presets/*.yaml))
# The day of the last change: the same sources give the same pages.
PAGES_DATE = $(shell date -u -d "@$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGES.md)}" +%F)
OPTIONS_OF_bidlake-agent := agent/options.def
OPTIONS_OF_bidlake-commit := cloud/options.def
OPTIONS_OF_bidlake-table := cloud/options.def
# Pages and units name both.
P := $(BUILD)/packaging$(PREFIX)$(SYSCONFDIR)

documents: $(addprefix $(P)/,$(MAN_PAGES)) $(PROGRAMS:%=$(P)/%.completion) $(addprefix $(P)/,$(UNITS))

$(P)/%.help: $(BUILD)/%
	@mkdir -p $(@D)
	$< --help >$@.tmp && mv $@.tmp $@

define rows_rule
$(P)/$(1).rows: packaging/man/rows.inc packaging/man/rows.awk $(OPTIONS_OF_$(1)) lib/objstore/s3_options.def
	@mkdir -p $$(@D)
	$(if $(OPTIONS_OF_$(1)),$(CC) -E -P -x c -I. -DROWS='"$(OPTIONS_OF_$(1))"' $$< | \
		awk -f packaging/man/rows.awk >$$@.tmp && mv $$@.tmp $$@,: >$$@)
endef
$(foreach p,$(PROGRAMS),$(eval $(call rows_rule,$(p))))

# bidlake-agent.1 and bidlake-agent.yaml.5 are of bidlake-agent.
define page_rule
$(P)/$(1): packaging/man/$(1).in packaging/man/page.awk $(P)/$(firstword $(subst ., ,$(1))).help \
		$(P)/$(firstword $(subst ., ,$(1))).rows
	awk -v help=$(P)/$(firstword $(subst ., ,$(1))).help -v rows=$(P)/$(firstword $(subst ., ,$(1))).rows \
		-v title=$(shell echo $(basename $(1)) | tr a-z A-Z) -v date=$$(PAGES_DATE) -v version=$(VERSION) \
		-v sysconfdir=$(SYSCONFDIR) -f packaging/man/page.awk $$< >$$@.tmp && mv $$@.tmp $$@
endef
$(foreach m,$(MAN_PAGES),$(eval $(call page_rule,$(m))))

$(P)/%.completion: packaging/completion.awk $(P)/%.help $(P)/%.rows
	awk -v program=$* -v rows=$(P)/$*.rows -v tables="$(PRESETS)" -f $< $(P)/$*.help >$@.tmp && mv $@.tmp $@

$(P)/%.service: packaging/systemd/%.service.in
	@mkdir -p $(@D)
	sed 's,@BINDIR@,$(PREFIX)/bin,g; s,@SYSCONFDIR@,$(SYSCONFDIR),g' $< >$@
$(P)/%.socket: packaging/systemd/%.socket
	@mkdir -p $(@D)
	cp $< $@

# What the administrator has edited stays.
install: all documents ## programs, manual pages, completion, units, configuration; DESTDIR= PREFIX=/usr/local
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man5 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(UNITDIR) \
		$(DESTDIR)$(PREFIX)/lib/sysusers.d $(DESTDIR)$(PREFIX)/lib/tmpfiles.d $(DESTDIR)$(SYSCONFDIR)/bidlake
	install -m 755 $(addprefix $(BUILD)/,$(PROGRAMS)) $(DESTDIR)$(PREFIX)/bin
	for page in $(MAN_PAGES); do \
		install -m 644 $(P)/$$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/ || exit 1; done
	for program in $(PROGRAMS); do install -m 644 $(P)/$$program.completion \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$program || exit 1; done
	install -m 644 $(addprefix $(P)/,$(UNITS)) $(DESTDIR)$(UNITDIR)
	for kind in sysusers tmpfiles; do for file in packaging/systemd/*.$$kind; do \
		install -m 644 $$file $(DESTDIR)$(PREFIX)/lib/$$kind.d/$$(basename $$file $$kind)conf || exit 1; done; done
	for file in agent.yaml commit.yaml; do [ -e $(DESTDIR)$(SYSCONFDIR)/bidlake/$$file ] || \
		install -m 644 packaging/etc/$$file $(DESTDIR)$(SYSCONFDIR)/bidlake || exit 1; done

# Where the administrator has enabled the units, "systemctl disable --now" comes before.
uninstall: ## what install put there; the configuration stays, as do spool and tables
	rm -f $(PROGRAMS:%=$(DESTDIR)$(PREFIX)/bin/%) \
		$(PROGRAMS:%=$(DESTDIR)$(PREFIX)/share/bash-completion/completions/%) \
		$(foreach m,$(MAN_PAGES),$(DESTDIR)$(PREFIX)/share/man/man$(subst .,,$(suffix $(m)))/$(m)) \
		$(UNITS:%=$(DESTDIR)$(UNITDIR)/%) \
		$(patsubst packaging/systemd/%.sysusers,$(DESTDIR)$(PREFIX)/lib/sysusers.d/%.conf,$(wildcard packaging/systemd/*.sysusers)) \
		$(patsubst packaging/systemd/%.tmpfiles,$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/%.conf,$(wildcard packaging/systemd/*.tmpfiles))

deb: ## Debian packages into build/deb
	@packaging/install-dependencies.sh build deb
	@packaging/deb.sh $(VERSION) build/deb

deb-twice: deb ## and that they are the same bytes when built elsewhere
	@packaging/deb.sh $(VERSION) build/deb-again/elsewhere
	@for package in build/deb/*.deb; do cmp $$package build/deb-again/elsewhere/$${package##*/} || exit 1; done
	@echo "deb: $$(ls build/deb/*.deb | wc -l) packages are the same, byte by byte"

package-check: all ## units, pages, completion, packaged configurations
	@BUILD=$(BUILD) python3 -B tests/package/check.py

package-test: deb-twice ## the packages in a clean Debian that is booted: install, load, upgrade, purge (root)
	@packaging/install-dependencies.sh package python
	@$(PYTHON) -B tests/package/boot.py --packages build/deb

.PHONY: documents install uninstall deb deb-twice package-check package-test
