# make help             list these targets
# make mnist            train LeNet on real digits
# make fashion-mnist    the same net on the full Fashion-MNIST: FASHION=folder
# make test             run every check: tests, lint, types, wheels
# make oracle           compare training with PyTorch, step by step (a large download)
# make bench            Mocha against its peers: make bench BENCH="peers --minutes 90" PEERS="torch onnxruntime openvino jax"
# make test-gpu         test the CUDA backend on a GPU, from the checkout; nothing is installed
# make bench-gpu        time it there
# make docs             build the documentation
# make clean            remove what these targets made, but no data and no snapshots

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := layers_std cpu native cuda solvers_std hdf5 datasets
# What needs no compiler.
TREE := -e . $(patsubst %,-e plugins/mocha_%,$(filter-out native,$(PLUGINS)))
NATIVE := plugins/mocha_native
PYPROJECTS := pyproject.toml $(PLUGINS:%=plugins/mocha_%/pyproject.toml)
FASHION ?= /usr/share/datasets/fashion-mnist
ITERATIONS ?= 1500

# Benchmarks have an environment of their own, with built packages, as a user has them.
PEERS ?=
BENCH ?=
BENCH_VENV := .venv-bench
SOURCES := $(shell find mocha_core plugins -path '*/build' -prune -o \( -name '*.py' -o -name '*.[ch]' \) -print)

# pyenv shows a program only the versions that PYENV_VERSION names.
PYENV_VERSIONS = $(shell pyenv versions --bare 2>/dev/null | grep -E '^3\.1[1-3]\.[0-9]+$$' | paste -sd: -)

.PHONY: help mnist fashion-mnist test oracle bench gpu test-gpu bench-gpu docs clean
help:
	@sed -n 's/^# make /make /p' Makefile

# One thread: 1,500 iterations take five seconds of it, and on a busy machine a second one costs more than it gains.
mnist: $(VENV)/native data/mnist/test.txt
	$(BIN)/python examples/mnist/lenet.py --iterations $(ITERATIONS) --threads 1
	$(BIN)/python examples/learning_curve.py snapshots/mnist learning-curve.png

fashion-mnist: $(VENV)/native data/fashion-mnist/test.txt
	$(BIN)/python examples/mnist/lenet.py --data data/fashion-mnist --snapshots snapshots/fashion-mnist \
		--iterations 4688 --threads 1
	$(BIN)/python examples/learning_curve.py snapshots/fashion-mnist learning-curve.png

data/mnist/test.txt: | $(VENV)/mocha
	$(BIN)/mocha data mnist --to $(@D)

data/fashion-mnist/test.txt: | $(VENV)/mocha
	$(BIN)/mocha data fashion-mnist --from $(FASHION) --to $(@D)

# Installing comes first, because all environments compile mocha-native in the same folder. The tests are of one thread
# each, so as many environments run at a time as there are processors.
test: export PYENV_VERSION ?= $(PYENV_VERSIONS)
test: $(VENV)/tox
	$(BIN)/tox run-parallel --notest --parallel auto --parallel-no-spinner
	$(BIN)/tox run-parallel --parallel auto --parallel-no-spinner

oracle: $(VENV)/tox
	$(BIN)/tox run -e oracle

bench: $(BENCH_VENV)/mocha
	@for peer in $(PEERS) $(if $(filter onnxruntime% openvino%,$(PEERS)),onnx); do \
		$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check "$$peer" \
			|| echo "$$peer cannot be installed, pip says why above: it takes no part."; done
	$(BENCH_VENV)/bin/python benchmarks/bench.py $(BENCH)

# Both with what $(PYTHON) has: NumPy, pluggy, packaging, h5py, threadpoolctl, tqdm, CuPy; pytest, or PyTorch.
ON_GPU = PYTHONPATH="$$($(PYTHON) tools/checkout.py build/checkout):$(CURDIR)/tests/cuda:$$PYTHONPATH" $(PYTHON)

gpu:
	@$(ON_GPU) -c 'import sys; from mocha_cuda.requirements import unavailable; sys.exit(unavailable() or None)'

test-gpu: gpu
	@$(ON_GPU) tests/cuda/on_gpu.py

bench-gpu: gpu
	$(ON_GPU) benchmarks/bench.py gpu $(BENCH)

docs: $(VENV)/tox
	$(BIN)/tox run -e docs
	@echo $(CURDIR)/docs/_build/html/index.html

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"Mocha needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

# One pip command sees all distributions: they depend on each other and are not published.
$(VENV)/mocha: $(PYPROJECTS) examples/requirements.txt | $(VENV)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TREE) -r examples/requirements.txt
	@touch $@

$(BENCH_VENV)/mocha: $(SOURCES) $(PYPROJECTS) plugins/mocha_native/pyproject.toml
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check 'matplotlib>=3.8' \
		. $(PLUGINS:%=./plugins/mocha_%)
	@touch $@

# Where it cannot be compiled there is one backend less, and the next time it is tried again.
$(VENV)/native: $(VENV)/mocha $(wildcard $(NATIVE)/*.py $(NATIVE)/csrc/*.[ch] $(NATIVE)/csrc/kernels/*.h)
	@echo "Compiling $(NATIVE): half a minute"
	@if $(BIN)/python -m pip install --disable-pip-version-check -e $(NATIVE) >$(VENV)/native.log 2>&1; then touch $@; \
		else echo "It cannot be compiled here ($(VENV)/native.log says why): Mocha goes on with NumPy, more slowly."; fi

$(VENV)/tox: | $(VENV)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'tox>=4.25'
	@touch $@

clean:
	rm -rf $(VENV) $(BENCH_VENV) .tox .mypy_cache .ruff_cache .pytest_cache docs/_build
