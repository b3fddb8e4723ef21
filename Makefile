# Short names for tools/dev.py, which also works where there is no make.
PYTHON ?= python3
DEV = $(PYTHON) tools/dev.py

.PHONY: help setup demo test lint format zipapp test-vm bench ci clean
help: ; @$(DEV) help
setup demo test lint format zipapp test-vm bench ci: ; @$(DEV) $@ $(ARGS)

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bpflens.pyz
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
