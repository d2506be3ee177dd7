# Programs that need nothing of the machine they run on, and container images of them.

static: ## programs without shared libraries into build/static (Debian alone)
	@packaging/install-dependencies.sh build static
	@packaging/static.sh
	@$(MAKE) --no-print-directory STATIC=1 all

static-check: static ## sizes, TLS, names, the whole way, in a root that holds nothing else
	@packaging/install-dependencies.sh test python
	@BUILD=build/static $(PYTHON) -B tests/package/static.py

.PHONY: static static-check
