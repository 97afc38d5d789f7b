# M6-Rec. `make` alone explains the targets.
SHELL := /bin/bash
# LANE=current: another Spark, with a lock file and a virtual environment of its own.
LANE ?= main
export LANE
VENV := $(or $(M6REC_VENV),$(if $(filter main,$(LANE)),.venv,.venv-$(LANE)))
CACHE := $(or $(M6REC_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/m6rec)
SOURCES := lib jobs tests setup.py
# What holds without a JVM.
QUICK_TESTS := tests/kernels tests/config tests/docs $(wildcard tests/test_*.py)
# OpenBLAS reads it when NumPy is imported; see CORES_ARE_SHARED in tests/shell_environment.py. Where a
# worker of xdist has crashed, the others would wait for ever for the tests that it still had.
PYTEST_ON_BOTH_CORES = OPENBLAS_THREAD_TIMEOUT=16 \
	$(VENV)/bin/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder --max-worker-restart 0
# By which another Spark is tried: pipelines by path and by name, readers of rows, and matrix programs.
LANE_TESTS := tests/jobs/test_pipeline.py tests/towers/test_batches.py tests/stages/test_factors.py \
	tests/cluster/test_barrier.py tests/cluster/test_catalogue.py

export PYTHONDONTWRITEBYTECODE := 1
export PYTHONPATH := lib:.
# Where spark-submit.sh has it; the same kernels are compiled once for all jobs and tests.
export NUMBA_CACHE_DIR ?= $(CACHE)/numba/$(LANE)-$(shell LC_ALL=C; cat $$(grep -l numba lib/m6rec/kernels/*/*.py) lib/m6rec/kernels/arrays/*.py | cksum | cut -d' ' -f1)

.DEFAULT_GOAL := help
.PHONY: help setup check quick-tests test lanes test-lane notebook lint types format demo quality benchmark robustness validation-study clean

help: ## Explain the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make the virtual environment from the lock file
	@./spark-submit.sh setup

check: ## For every save: style, types, and the tests that need no JVM
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint types quick-tests

quick-tests: setup
	$(PYTEST_ON_BOTH_CORES) -p no:nbmake $(QUICK_TESTS)

test: setup ## All tests with coverage of lib/
	$(PYTEST_ON_BOTH_CORES) --cov=lib/m6rec --cov-report=term --cov-fail-under=90

lanes: ## Pipelines, readers and matrix programs on the other lanes
	@for lane in current long-lived; do $(MAKE) --no-print-directory test-lane LANE=$$lane || exit; done

test-lane: ## The same on one lane: make test-lane LANE=current
	@./spark-submit.sh setup --packages
	$(PYTEST_ON_BOTH_CORES) $(LANE_TESTS)

notebook: setup ## Execute the notebook
	$(VENV)/bin/python -m pytest --nbmake --nbmake-timeout=900 notebooks

benchmark: setup ## Measure against peers: make benchmark DATA=FILE OUTPUT=DIR (QUICK=1 tries it)
	@tests/benchmarks/install.sh $(VENV) .venv-benchmark $(CACHE)/bootstrap/bin/uv
	@env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE .venv-benchmark/bin/python -m tests.benchmarks \
		$(if $(DATA),--data "$(DATA)") $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		--output "$(or $(OUTPUT),output/benchmark)"

validation-study: setup ## What validation chooses, on tests: make validation-study DATA=DIR, writes docs/validation.md
	@test -n "$(DATA)" || { echo "error: give the folder of the public data: make validation-study DATA=DIR" >&2; exit 2; }
	$(VENV)/bin/python -m tests.quality.validation_study --data "$(DATA)" --output "$(or $(OUTPUT),output/validation)"

lint: setup ## Style: ruff
	$(VENV)/bin/ruff check $(SOURCES)
	$(VENV)/bin/ruff format --check $(SOURCES)

format: setup ## Put the style right
	$(VENV)/bin/ruff check --fix $(SOURCES)
	$(VENV)/bin/ruff format $(SOURCES)

types: setup ## Types: mypy --strict on lib/
	$(VENV)/bin/mypy

demo: ## The whole pipeline on MovieLens-100K, in output/demo
	@./spark-submit.sh demo

# DATA and OUTPUT are folders; TOP=300 makes longer lists; PROTOCOL=cold_items ranks unseen items,
# PROTOCOL=sampled ranks each test item among 999 random ones, too;
# SEED=43 draws anew; VALIDATION=random states that the test is random though there are times.
TOP ?= 100
PROTOCOL ?= all
quality: ## The default configuration on a folder of data: make quality DATA=DIR OUTPUT=DIR
	@./spark-submit.sh quality --data "$(DATA)" --output "$(or $(OUTPUT),output/quality)" --top "$(TOP)" --protocol "$(PROTOCOL)" $(if $(SEED),--seed $(SEED)) $(if $(VALIDATION),--validation $(VALIDATION))

robustness: ## What attacks cost each ranker: make robustness DATA=DIR OUTPUT=DIR
	@./spark-submit.sh robustness --data "$(DATA)" --output "$(or $(OUTPUT),output/robustness)" $(if $(NAME),--name "$(NAME)") $(if $(SEEDS),--seeds "$(SEEDS)")

clean: ## Remove what runs and tests leave behind (not the virtual environment)
	rm -rf "$(CACHE)/numba" output spark-warehouse metastore_db derby.log .coverage .pytest_cache .mypy_cache .ruff_cache
	find lib jobs tests -name __pycache__ -type d -prune -exec rm -rf {} +
