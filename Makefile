# Both targets set everything up by themselves: a virtual environment in .venv with the pinned requirements.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test test-xla check docs sweep mutation clean
.DEFAULT_GOAL := test

$(STAMP): requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	$(BIN)/python -m compileall -q pytest_ckpt lint_rules
	touch $@

demo: $(STAMP)
	@$(BIN)/python docs/examples/demo.py

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/ckpt-lint .

docs: $(STAMP)
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs docs/_build/html

test: check docs
	$(BIN)/python -m pytest -n 2 --dist worksteal

sweep: $(STAMP)
	SWEEP=full $(BIN)/python -m pytest -n 2 -m sweep tests/real/test_sweep.py

# Breaks the code in one place at a time and runs what should notice; a quarter of an hour and more, so no part of `test`.
mutation: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/bench/requirements-mutation.txt
	$(BIN)/python tests/bench/mutation.py

# The legs to and from an accelerator on a real second device; 7 GB in an environment of its own, so no part of `test`.
test-xla:
	test -x .venv-xla/bin/python || $(PYTHON) -m venv .venv-xla
	.venv-xla/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-xla.txt
	.venv-xla/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	PJRT_DEVICE=CPU .venv-xla/bin/python -m pytest tests/pytest_ckpt/test_accelerator.py

clean:
	rm -rf .venv .venv-xla docs/_build dist
