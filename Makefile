PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: compile-check demo demo-train drill soak test test-hostile test-meshes test-parity test-ray test-wheel peak-memory lint clean

# The model that comes with the package restores a real face and drawn ones.
demo: $(VENV)/.demo
	$(BIN)/python -m launch.demo --out runs/demo

# Training from nothing on drawn faces, and the comparison.
demo-train: $(VENV)/.demo
	$(BIN)/python -m launch.demo_train --out runs/demo_train

# Twenty kills of a training run; nothing may be lost. A quarter of an hour.
drill: $(VENV)/.demo
	$(BIN)/python -m launch.drill --out runs/drill

# The live server under bad luck; nothing may grow. An hour, or SECONDS.
SECONDS ?= 3600
soak: $(VENV)/.test
	$(BIN)/python -m launch.soak --seconds $(SECONDS) --out runs/soak

test: lint $(VENV)/tfds/.done $(VENV)/libtpu/.done $(VENV)/cuda/.done
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 \
	  --dist loadfile --no-loadscope-reorder

# Networks at their true size; 20 GB of memory.
test-parity: $(VENV)/.test
	$(BIN)/python -m pytest tests/parity --full-size --parity-report docs/parity.md

# Bad input of every kind, and two thousand drawn examples for each property.
test-hostile: $(VENV)/.test
	$(BIN)/python -m pytest tests/hostile --all-hostile \
	  --hypothesis-profile=thorough

# Twenty steps on every mesh of 8 virtual devices, and a sweep in two processes.
test-meshes: $(VENV)/.test
	$(BIN)/python -m pytest --full-size tests/training/test_meshes.py \
	  tests/ablation/test_run.py::test_two_processes_train_what_one_does

# The SD 1.5 step for three TPU slices and eight GPUs; for a slice up to half
# an hour on two cores, and 23 GB of memory.
CHECK := $(BIN)/python -m launch.compile_check
compile-check: $(VENV)/libtpu/.done $(VENV)/cuda/.done
	PYTHONPATH=$(VENV)/libtpu $(CHECK) --topology v5e:4x4 --batch-per-chip 3 \
	  --config configs/sd15_512.py model.remat=full
	PYTHONPATH=$(VENV)/libtpu $(CHECK) --topology v5e:16x16 --batch-per-chip 4 \
	  --config configs/sd15_512_v5e_256.py
	PYTHONPATH=$(VENV)/libtpu $(CHECK) --topology v5p:4x4x8 --batch-per-chip 30 \
	  --config configs/sd15_512_v5p_128.py
	PYTHONPATH=$(VENV)/cuda $(CHECK) --topology h100:8 --batch-per-chip 6 \
	  --config configs/sd15_512_h100_8.py

# Workers and a node of a Ray cluster are killed; every byte is compared.
test-ray: $(VENV)/.test
	$(BIN)/python -m pytest tests/engines/node_death.py
	$(BIN)/python -m launch.ray_drill --out runs/ray_drill

# The wheel in an empty environment restores a clip with the model that it
# brings, from another folder. Needs ASSETS/clips and MediaPipe's ASSETS/models.
ASSETS ?= $(abspath ../shared/assets)
test-wheel: $(VENV)/.demo
	rm -rf runs/wheel
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir runs/wheel .
	$(PYTHON) -m venv runs/wheel/env
	runs/wheel/env/bin/python -m pip install --quiet \
	  "$$(ls runs/wheel/diffmvr_jax-*.whl)[data-prep]"
	cd runs/wheel && env/bin/python -m diffmvr_jax.restore \
	  $(ASSETS)/clips/hand_over_face.mp4 --models $(ASSETS)/models --out restored.mp4

# Needs 12 GB of disk.
peak-memory: $(VENV)/.test
	$(BIN)/python -m tests.parity.peak_memory --folder runs/peak_memory

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright --pythonpath $(BIN)/python

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("DiffMVR-JAX needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# Each stamp is newer than the setup.py that it was installed from.
$(VENV)/.demo: setup.py | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	touch $@

$(VENV)/.test: setup.py tests/reference_versions.txt $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --editable '.[test]' \
	  --constraint tests/reference_versions.txt
	touch $@

# TensorFlow reads our records in a test; beside PyTorch it crashes.
$(VENV)/tfds/.done: setup.py | $(VENV)/bin/python
	$(PYTHON) -m venv $(VENV)/tfds
	$(VENV)/tfds/bin/python -m pip install --quiet \
	  'tensorflow-cpu>=2.21' 'tensorflow-datasets>=4.9.10' importlib_resources
	touch $@

# The compilers of TPUs and of GPUs, beside the environment: within, JAX would
# look for chips.
$(VENV)/libtpu/.done: setup.py $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --upgrade --no-deps --target $(@D) \
	  "$$($(BIN)/python -c 'from importlib.metadata import requires; \
	    print(next(r for r in requires("jax") if r.startswith("libtpu")).partition(";")[0])')"
	touch $@

# cuDNN is PyTorch's.
$(VENV)/cuda/.done: setup.py $(VENV)/.test
	$(BIN)/python -m pip install --quiet --upgrade --no-deps --target $(@D) \
	  $$($(BIN)/python -c 'import jax; \
	    [print(f"jax-cuda13-{part}=={jax.__version__}") for part in ("plugin", "pjrt")]')
	touch $@

clean:
	rm -rf $(VENV) runs
