# make train   sets up .venv, builds the native library, trains on handwritten digits
# make test    the same set-up, then all tests
# make lint    lint, format, type and spelling checks
# make format  applies the formatters and the lint fixes that are safe
# make debian  installs the data sets fashion and emoji, and a browser for the report's test, from Debian; needs root
# make native  builds the native library and the module that runs the CUDA kernels on the CPU
# make fuzz    runs the fuzzers with all their cases, about 20 minutes, and writes the table of docs/reliability.md
# make torch-versions   runs the tests of everything that depends on torch's internals on other versions of torch
# make results-toy      trains the presets on mixtures of Gaussians and writes the table; resumes where it was interrupted
# make results-runs     trains the tables of docs/runs.md and docs/presets.md, about 3 hours on two quiet cores; resumes likewise
# make results-default  trains fashion with no option for 4 and 20 minutes, three seeds; resumes likewise
# make results-labs     runs all labs and writes docs/labs.html
# make results-superresolve   trains super-resolution with and without a critic, 5 minutes each, and writes its table into docs/tasks.md
# make results-wedge    simulates, fits and measures missing-wedge restoration, about 90 minutes on two quiet cores; resumes likewise
# make clean   removes .venv and everything that was built
#
# Each target does only what is out of date. PYTHON names the interpreter (>= 3.10) that .venv is made from.

PYTHON ?= python3
BIN := .venv/bin
CSRC := $(shell find csrc -type f)
DEBIAN := dataset-fashion-mnist fonts-noto-color-emoji chromium
CXX_FILES := $(filter %.h %.cpp %.cu %.cuh,$(CSRC))
export PATH := $(CURDIR)/$(BIN):$(PATH)

# On these the tests run beside the pinned version: the oldest that is supported, and a newer one.
TORCH_VERSIONS := 2.11.0 2.14.1
TORCH_TESTS := tests/ops tests/pruning tests/penalty tests/schedule tests/critic tests/objectives

.PHONY: train test fuzz lint format debian torch-versions results-toy results-runs results-default results-labs results-superresolve results-wedge native clean

train: .venv/.ready gpgan/_C.abi3.so
	gpgan train digits
	@echo 'To have gpgan on the PATH of this shell: source $(BIN)/activate'

# One process per core, each with one thread of torch; a file's tests stay together, as they share what they train.
test: native
	OMP_NUM_THREADS=1 python -m pytest -n auto --dist loadfile --cov --cov-report=term:skip-covered --cov-fail-under=90

fuzz: native
	python -m benchmarks.reliability

lint: .venv/.ready
	ruff check .
	ruff format --check .
	mypy
	clang-format --dry-run --Werror $(CXX_FILES)
	codespell

format: .venv/.ready
	ruff check --fix .
	ruff format .
	clang-format -i $(CXX_FILES)

debian:
	dpkg --status $(DEBIAN) >/dev/null 2>&1 || (apt-get update -qq; \
	    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends $(DEBIAN) >/dev/null)

# The library is the one that was built against the pinned torch: through the stable ABI every torch since 2.11 loads it.
torch-versions: $(TORCH_VERSIONS:%=build/torch-%/.ready) gpgan/_C.abi3.so
	@for version in $(TORCH_VERSIONS); do \
	    echo "torch $$version"; \
	    PYTHONPATH=$(CURDIR) OMP_NUM_THREADS=1 build/torch-$$version/bin/python -m pytest -q $(TORCH_TESTS) || failed=1; \
	done; exit $${failed:-0}

# setuptools is left to torch, whose older versions refuse newer ones.
build/torch-%/.ready: constraints.txt
	test -x build/torch-$*/bin/python || $(PYTHON) -m venv build/torch-$*
	grep -vE '^(torch|setuptools)==' constraints.txt > build/torch-$*/constraints.txt
	build/torch-$*/bin/python -m pip install --quiet --disable-pip-version-check -c build/torch-$*/constraints.txt \
	    torch==$* numpy scipy pytest torch-abi-audit
	@touch $@

results-toy: .venv/.ready gpgan/_C.abi3.so
	python -m benchmarks.toy --readme README.md

results-runs: .venv/.ready gpgan/_C.abi3.so
	python -m benchmarks.runs

results-default: .venv/.ready gpgan/_C.abi3.so
	python -m benchmarks.default
	python -m benchmarks.runs --documents

results-superresolve: .venv/.ready gpgan/_C.abi3.so
	python -m benchmarks.superresolve

results-wedge: .venv/.ready gpgan/_C.abi3.so
	python -m benchmarks.wedge
	python -m benchmarks.runs --documents

results-labs: .venv/.ready gpgan/_C.abi3.so
	gpgan lab --all --out build/labs
	cp build/labs/labs.html docs/labs.html

native: gpgan/_C.abi3.so build/host/.built

# torch and the build's requirements come first: the package itself is built without isolation, against this torch.
.venv/.ready: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "gpgan needs Python >= 3.10 and found " + sys.version.split()[0] + "; name another with PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools ninja numpy torch
	GPGAN_CUDA=0 python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[train,metrics,test,lint]'
	@rm -f gpgan/_C.abi3.so  # built by its own rule, with CUDA if nvcc is found
	@touch $@

gpgan/_C.abi3.so: .venv/.ready setup.py $(CSRC)
	@echo "building the native library (about a minute if nvcc compiles for every GPU; GPGAN_CUDA=0 leaves CUDA out)"
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
