# Two commands do all set-up: `make song` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

NARRATIVE ?= An old lighthouse keeper counts the waves every night. The ships stopped coming years ago, but he still lights the lamp and hums a tune his daughter taught him.
DURATION ?= 60
STYLE ?=
SONG ?= song.mp3
# Installed before anything that asks for some torch, so that pip takes the build it finds for this machine.
TORCH ?= torch==2.13.0

.PHONY: song test sanitize lint bench clean

song: $(VENV)/.base
	@$(BIN)/tonewheel song --duration "$(DURATION)" $(if $(STYLE),--style "$(STYLE)") --output "$(SONG)" --force -- "$$NARRATIVE"

test: $(VENV)/.dev $(VENV)/.kernels
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

# An empty file stands for what is installed; it is older than pyproject.toml when dependencies change.
$(VENV)/.base: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Tonewheel into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Tonewheel with its test tools into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@# The authors' Beat This!, which ours is held to. Alone: the torchaudio it names breaks transformers on CPU torch.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps "beat-this==1.1.0"
	@touch $(VENV)/.base $@

# The CPU kernels, which everything runs without: where they cannot be built the tests of them are skipped.
$(VENV)/.kernels: $(VENV)/.dev $(wildcard kernels/CMakeLists.txt kernels/pyproject.toml kernels/src/* kernels/tonewheel_kernels/*.py*)
	@if ! command -v "$${CXX:-c++}" > /dev/null; then \
		echo "Notice: there is no C++ compiler (c++): the CPU kernels are not built, and their tests are skipped"; \
	elif echo "Building the CPU kernels ..." && $(BIN)/python -m pip install --quiet --disable-pip-version-check ./kernels; then \
		touch $@; \
	else \
		echo "Notice: the CPU kernels could not be built (see above): their tests are skipped"; \
	fi

# The kernels' tests under the address and undefined-behaviour sanitizers.
sanitize: $(VENV)/.dev
	PYTHON=$(BIN)/python kernels/sanitize.sh

bench: $(VENV)/.dev
	$(BIN)/python bench/compose.py --quick
	$(BIN)/python bench/listen.py --quick

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

export NARRATIVE
