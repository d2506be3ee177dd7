# Programs that need nothing of the machine they run on, and container images of them.

static: ## programs without shared libraries into build/static (Debian alone)
	@packaging/install-dependencies.sh build static
	@packaging/static.sh
	@$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$$(nproc)) STATIC=1 all

static-check: static ## sizes, TLS, names, the whole way, in a root that holds nothing else
	@packaging/install-dependencies.sh test python
	@BUILD=build/static $(PYTHON) -B tests/package/static.py

image: static ## images of agent and commit service into build/image, as oci-archives (root)
	@packaging/install-dependencies.sh image
	@packaging/image/image.sh $(VERSION) build/static build/image

image-twice: image ## and that they are the same when built again
	@packaging/image/image.sh $(VERSION) build/static build/image-again >/dev/null
	@for file in build/image/*.tar build/image/digests; do cmp $$file build/image-again/$${file##*/} || exit 1; done
	@rm -rf build/image-again

image-test: image-twice ## the images as a pod has them: load, stop, kill, limits (root)
	@packaging/install-dependencies.sh test python
	@$(PYTHON) -B tests/package/containers.py --images build/image --gen build/static/bidlake-gen

.PHONY: static static-check image image-twice image-test
