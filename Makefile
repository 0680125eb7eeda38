# make train   sets up .venv, builds the native library, trains on handwritten digits
# make test    the same set-up, then all tests
# make lint    lint, format and type checks
# make debian  fetches fashion and emoji, and a browser for the test of the report, from Debian; needs root
# make results-toy      trains the presets on mixtures of Gaussians and writes the table; goes on where it was interrupted
# make results-presets  trains each preset for four minutes on fashion and writes docs/presets.md; goes on likewise
# make results-labs     runs all labs and writes docs/labs.html
# make native  builds the native library and the module that runs the CUDA kernels on the CPU
#
# Each target does only what has changed since. PYTHON names the interpreter (>= 3.10) that .venv is made from.

PYTHON ?= python3
BIN := .venv/bin
CSRC := $(shell find csrc -type f)
DEBIAN := dataset-fashion-mnist fonts-noto-color-emoji chromium
CXX_FILES := $(filter %.h %.cpp %.cu %.cuh,$(CSRC))
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: train test lint format debian results-toy results-presets results-labs native clean

train: .venv/.ready gpgan/_C.abi3.so
	gpgan train digits

test: native
	python -m pytest --cov --cov-report=term:skip-covered --cov-fail-under=90

lint: .venv/.ready
	ruff check .
	ruff format --check .
	mypy
	clang-format --dry-run --Werror $(CXX_FILES)

format: .venv/.ready
	ruff check --fix .
	ruff format .
	clang-format -i $(CXX_FILES)

debian:
	dpkg --status $(DEBIAN) >/dev/null 2>&1 || (apt-get update -qq; \
	    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends $(DEBIAN) >/dev/null)

results-toy: .venv/.ready gpgan/_C.abi3.so
	python -m benchmarks.toy --readme README.md

results-presets: .venv/.ready gpgan/_C.abi3.so
	python -m benchmarks.presets

results-labs: .venv/.ready gpgan/_C.abi3.so
	gpgan lab --all --out build/labs
	cp build/labs/labs.html docs/labs.html

native: gpgan/_C.abi3.so build/host/.built

# torch and what the build needs come first: the package itself is built without isolation, against this torch.
.venv/.ready: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "gpgan needs Python >= 3.10 and found " + sys.version.split()[0] + "; name another with PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools ninja numpy torch
	GPGAN_CUDA=0 python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[train,test,lint]'
	@rm -f gpgan/_C.abi3.so  # built by its own rule, with CUDA where there is nvcc
	@touch $@

gpgan/_C.abi3.so: .venv/.ready setup.py $(CSRC)
	@echo "building the native library (a minute where nvcc compiles for every GPU; GPGAN_CUDA=0 leaves CUDA out)"
	@mkdir -p build && rm -f $@
	@python setup.py --quiet build_ext --inplace 2>&1 | tee build/native.log \
	    | sed -un 's|^\(\[[0-9/]*\]\) .* -c $(CURDIR)/\([^ ]*\) -o .*|  \1 \2|p'
	@test -f $@ || { cat build/native.log; exit 1; }

build/host/.built: .venv/.ready CMakeLists.txt $(CSRC)
	cmake -S . -B build/host -G Ninja --log-level=WARNING -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python
	cmake --build build/host --target gpgan_host
	@touch $@

clean:
	rm -rf build gpgan/_C.abi3.so .venv
