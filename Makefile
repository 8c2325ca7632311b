# A fresh machine needs Python 3.11 and make; everything else is installed into .venv from constraints.txt.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export RAY_USAGE_STATS_ENABLED := 0
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: demo test check format docs serve stop clean

demo: $(VENV)/installed
	$(BIN)/python jobs/audit.py conf/demo.yaml $(OVERRIDES)

test: $(VENV)/installed
	$(BIN)/python -m pytest

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

serve: $(VENV)/installed
	$(BIN)/python deploy/local/services.py up

stop: $(VENV)/installed
	$(BIN)/python deploy/local/services.py down

$(VENV)/installed: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs trials mlflow .service

docs: $(VENV)/installed
	$(BIN)/python -c 'from grasp_ray.config import settings_page; print(settings_page(), end="")' > docs/settings.md
