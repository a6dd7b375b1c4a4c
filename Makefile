# What a person or a machine does with a checkout. Every target sets up what it needs first.

# Said on the command line: arguments for pytest, whether the demo goes through RabbitMQ, the interpreter to set up with.
ARGS ?=
BROKER ?=
PYTHON ?=

VENV := .venv
BIN := $(VENV)/bin
# The demo needs the one; tests, checks and measurements also need torch, TensorFlow and tools, which take longer to come.
READY := $(VENV)/.ready
DEV_READY := $(VENV)/.ready-dev

# The compiler has an environment of its own: it pins an older protobuf than the one we run with.
GRPCIO_TOOLS := 1.80.0
PROTO_VENV := .venv-proto
PROTO_READY := $(PROTO_VENV)/.ready-$(GRPCIO_TOOLS)
PROTOS := $(sort $(wildcard proto/fl/wire/*.proto))
PROTOC := $(PROTO_VENV)/bin/python -m grpc_tools.protoc -I proto

# One test more at a time than there are cores, since nearly half of what tests do is waiting. Each takes a broker of its
# own and, with both frameworks, 1 GB: four will do. In our order: tests/side_by_side.py.
SIDE_BY_SIDE := -n $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1))) --maxprocesses 4 --no-loadscope-reorder

# Python compiles what it imports, which is less than half of all that comes, and keeps it, also where containers tell it
# not to: tests start hundreds of processes, and compiling a framework takes longer than importing it.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := python -m pip install --quiet --disable-pip-version-check --no-compile
# A virtual environment in $(1), unless one that works is there.
environment = python=$$(.ci/find-python $(PYTHON)) && \
	{ $(1)/bin/python -c '' 2>/dev/null || "$$python" -m venv --clear $(1); }

.DEFAULT_GOAL := help
.PHONY: help demo test soak lint proto check-proto bench bench-steps figures clean rabbitmq

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(READY) $(if $(BROKER),rabbitmq) ## train one model on the data of four hospitals; BROKER=1: through a private RabbitMQ
	@$(BIN)/fluffle demo $(if $(BROKER),--broker)

test: $(DEV_READY) rabbitmq ## run every test, several at a time; ARGS='-k blob -x' goes to pytest, '-n0' runs one by one
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

soak: $(DEV_READY) rabbitmq ## kill workers, daemons and connections a thousand times, and compare every bit
	@$(BIN)/python -m tests.faults.soak $(ARGS)

lint: $(DEV_READY) check-proto ## check style, types, the direction of imports, and that generated code is current
	@echo "ruff check" && $(BIN)/ruff check --quiet .
	@echo "ruff format --check" && $(BIN)/ruff format --quiet --check .
	@echo "mypy" && $(BIN)/mypy
	@echo "lint-imports" && $(BIN)/lint-imports

proto: $(PROTO_READY) ## generate fl/wire/*_pb2.py and .pyi from proto/
	@$(PROTOC) --python_out=. --pyi_out=. $(PROTOS)
	@echo "Generated fl/wire from $(words $(PROTOS)) schemas"

check-proto: $(PROTO_READY) ## fail if generating again would change fl/wire
	@echo "check-proto" && .ci/check-proto $(PROTOC) $(PROTOS)

bench: $(DEV_READY) rabbitmq ## measure rounds beside bare sockets and the bare broker; ARGS='--rows "0.1x2,10x8" --peers': and others
	@$(BIN)/python -m tests.bench $(ARGS)

bench-steps: $(DEV_READY) ## measure training steps, private ones and Adam's arithmetic against each framework's own
	@for one in steps_torch steps_keras steps_dp arithmetic; do $(BIN)/python -m tests.bench.$$one || exit 1; done

figures: $(DEV_READY) rabbitmq ## train on the digits with every algorithm, framework and with privacy, and put the tables into the README
	@OMP_NUM_THREADS=1 $(BIN)/python -m fl.examples.digits --broker --seeds 0 1 2 --into README.md
	@OMP_NUM_THREADS=1 $(BIN)/python -m fl.examples.privacy --into README.md
	@OMP_NUM_THREADS=1 $(BIN)/python -m fl.examples.central_privacy --into README.md

clean: ## remove environments, caches and build products
	rm -rf $(VENV) $(PROTO_VENV) .venv-peers build dist .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache .grimp_cache
	find broker fl tests -name __pycache__ -type d -prune -exec rm -rf {} +

rabbitmq:
	@.ci/need-rabbitmq

$(READY): pyproject.toml constraints.txt
	@echo "Setting up $(VENV) (a minute or two)"
	@$(call environment,$(VENV))
	@$(BIN)/$(INSTALL) -c constraints.txt -e '.[sklearn]'
	@touch $@

$(DEV_READY): pyproject.toml constraints.txt
	@echo "Setting up $(VENV) with torch, TensorFlow and tools (a few minutes)"
	@$(call environment,$(VENV))
	@$(BIN)/$(INSTALL) -c constraints.txt -e '.[dev]'
	@touch $(READY) $@

$(PROTO_READY):
	@echo "Setting up $(PROTO_VENV)"
	@$(call environment,$(PROTO_VENV))
	@$(PROTO_VENV)/bin/$(INSTALL) grpcio-tools==$(GRPCIO_TOOLS)
	@touch $@
