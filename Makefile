# Each target makes .venv and installs what it needs when that is missing or older than pyproject.toml.
PYTHON ?= python3
RUN := runs/demo
BIN := .venv/bin
# Tests and benchmarks start many processes: the bytecode that the first compiles is kept for the others.
BYTECODE := PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX=$(CURDIR)/.venv/bytecode
TEST := $(BYTECODE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: demo test test-fast lint docs dist bench format clean

demo: .venv/.installed
	$(BIN)/python -m pyrovae train --data.binarization none --likelihood DiscretizedLogistic --latent_dim 2 \
		--likelihood.network.hidden_features '[128, 128]' --posterior.network.hidden_features '[128, 128]' \
		--optimizer.lr 2e-3 --epochs 100 --run $(RUN) --resume true
	$(BIN)/python -m pyrovae evaluate $(RUN) --method.proposal_scale 2
	$(BIN)/python -m pyrovae report $(RUN)

test: .venv/.installed-dev
	$(TEST) -q -n auto --maxprocesses 4 --dist worksteal

test-fast: .venv/.installed-dev
	$(TEST) -q -m "not slow" -n auto --maxprocesses 4 --dist worksteal

lint: .venv/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/idea.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.readthedocs .readthedocs.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

docs: .venv/.installed-dev
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html
	@echo "the pages begin at docs/_build/html/index.html"

dist: .venv/.installed-dev
	$(BIN)/python scripts/versions/check_distribution.py

# Every script records what it measured in docs/performance/, and the last writes the page from the records.
MEASURE := $(BYTECODE) $(BIN)/python scripts/benchmarks
MNIST := $(if $(PYROVAE_DATA),--root $(PYROVAE_DATA))
# Those that are behind on one thread and MNIST are left out elsewhere.
FEW := --compile inductor --without "hand-written, Adam()" Pyro pythae
bench: .venv/.installed-bench
	$(MEASURE)/startup.py --rounds 3
	$(if $(MNIST),$(MEASURE)/training.py $(MNIST) --num_data 12800 --architectures A B --rounds 4 --threads 1)
	$(if $(MNIST),$(MEASURE)/training.py $(MNIST) --num_data 12800 --architectures A B --rounds 4 --threads 2 $(FEW))
	$(MEASURE)/training.py --architectures A small --first_epochs 80 --rounds 15 --threads 1 $(FEW)
	$(MEASURE)/evaluation.py $(MNIST) --architecture A --num_data 20 --rounds 3 --threads 1
	$(MEASURE)/evaluation.py $(MNIST) --architecture B --num_data 20 --rounds 3 --threads 1
	$(MEASURE)/evaluation.py $(MNIST) --architecture convolutional --num_data 3 --rounds 3 --threads 1
	$(MEASURE)/memory.py
	$(MEASURE)/programs.py
	$(MEASURE)/performance_page.py

format: .venv/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv dist docs/_build .mypy_cache .ruff_cache build *.egg-info

.venv/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --no-compile -e .
	touch $@

.venv/.installed-dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --no-compile -e '.[dev,docs]'
	touch .venv/.installed $@

.venv/.installed-bench: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --no-compile -e '.[bench]'
	touch .venv/.installed $@
