# Every target installs what it needs. The first one on a machine takes a few minutes, and says what it is doing.

PYTHON ?= python3
PORT ?= 8080
VENV := .venv
BIN := $(VENV)/bin
PROTOC := $(BIN)/python -m grpc_tools.protoc -I shop/schema=schema --python_out=. --pyi_out=. schema/*.proto
OPENAPI := $(BIN)/python -m schema.openapi

# A lock names everything, so nothing is resolved: pip looks for the newest `coverage[toml]` beside the locked `coverage`,
# and refuses the lock on the day that there is a newer one.
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar on --require-hashes --no-deps -r

RUNNABLE := $(VENV)/local.done $(BIN)/orders
TESTABLE := $(VENV)/dev.done $(BIN)/orders
MEASURABLE := $(VENV)/bench.done $(BIN)/orders
DEPLOYABLE := $(VENV)/orders.done

# Some files at a time, the slowest first (tests/support/slowest_first.py), each process with a MongoDB or a stack of its own.
PYTEST := $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder
# Functions in the tests' own process, on a real MongoDB: a minute. All others run the stack, or parts of it, and
# wait more than they compute: three at a time keep two cores busy.
QUICK := tests/functions tests/shop -n 2
OTHERS := --ignore=tests/functions --ignore=tests/shop -n 3

# What runs on servers of one's own: all others end them, or use none.
SERVED := tests/functions tests/shop tests/docs/test_calls.py tests/examples/test_client.py

# What is made of Kafka once: a test that waits for it, beside two others, might take too long.
KAFKA := $(BIN)/python -m local.servers.kafka_program

# $(call option,seeds,SEEDS): --seeds='5' for SEEDS=5, nothing when there is none. What it may be, the program says.
option = $(if $($(2)),--$(1)='$($(2))')

# What stands on a command line everybody on this machine can read.
ifeq ($(origin KAFKA_SASL_PASSWORD),command line)
$(error KAFKA_SASL_PASSWORD stands on the command line, for all to see: export it instead)
endif

export PORT

.DEFAULT_GOAL := help
.PHONY: help run demo bench soak test long simulate mutants replay-proof faults check new schema fmt lock clean placed \
  image sbom deploy deploy-kn undeploy i ui status smoke

help: ## List the targets, and the settings of make run
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo; echo 'Settings of make run and their defaults; set them in the environment or like this: make run PORT=80'
	@sed -n 's/^#:/ /p' $(firstword $(MAKEFILE_LIST))

#: PORT=8080                  port for customers; for each port, 0 means any free one
#: LOCAL_DIR=.stack           folder for data and logs; make demo, make clean and orders use it too
#: MONGODB_PORT=17117         port of mongod
#: KAFKA_PORT=19092           port of Kafka
#: SINK_PORT=18081            port of the KafkaSinks
#: MONGODB_URI=               replica set to set up and use instead of a local mongod, if USE_MONGODB_URI=1 says so
#: KAFKA_BOOTSTRAP_SERVERS=   Kafka to use instead of a local one, if USE_KAFKA_BOOTSTRAP_SERVERS=1 says so
#: KAFKA_SECURITY_PROTOCOL=   how to connect to that Kafka: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL
#: KAFKA_SASL_MECHANISM=      how to log in there: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
#: KAFKA_SASL_USERNAME=       user to log in as
#: KAFKA_SASL_PASSWORD=       that user's password; from the environment alone
#: KAFKA_SSL_CA=              file of the authority that signed Kafka's certificate, if the system does not trust it
#: AUTH_JWKS_URL=             where an issuer publishes its keys: functions then demand tokens; needs the next two
#: AUTH_ISSUER=               what `iss` of a token must be
#: AUTH_AUDIENCE=             what must be in `aud` of a token
#: AUTH_ROLES_CLAIM=          the claim that holds roles, if it is not `roles`
#: TRACES=                    1: start Zipkin, too, and show each order's trace there
#: ZIPKIN_PORT=19411          port of Zipkin, if TRACES=1
#: LOG=                       1: also print the functions' logs
#: KAFKA_JARS=                folder of Kafka's jars, instead of one in .venv
#: PYTHON=python3             the Python that makes .venv

run: $(RUNNABLE) ## Run everything on this machine, at http://127.0.0.1:8080 (PORT=80 for another port)
	@exec $(BIN)/python -m local

demo: $(RUNNABLE) ## Order once, repeat everything, and show that it was charged once
	@exec $(BIN)/python -m local.demo

# Servers of one's own count on the command line alone: in the environment they are for `orders`, which only reads. Then what
# uses a MongoDB or a Kafka runs, on those; where only one was given, the other is started here.
ifneq ($(filter command,$(origin MONGODB_URI) $(origin KAFKA_BOOTSTRAP_SERVERS)),)
test: export OWN_MONGODB_URI := $(MONGODB_URI)
test: export OWN_KAFKA_BOOTSTRAP_SERVERS := $(KAFKA_BOOTSTRAP_SERVERS)
test: $(TESTABLE)
	@$(KAFKA)
	@env -u MONGODB_URI -u KAFKA_BOOTSTRAP_SERVERS $(PYTEST) -n 2 $(SERVED)
else
test: $(TESTABLE) ## Run all tests, on a real MongoDB and a real Kafka (MONGODB_URI=... KAFKA_BOOTSTRAP_SERVERS=... for your own)
	@$(KAFKA)
	@$(PYTEST) $(QUICK)
	@$(PYTEST) $(OTHERS)
endif

long: $(TESTABLE) ## Run the tests that are slow and rare, which test and check leave out
	@$(PYTEST) $(OTHERS) -m "long or ci"

check: $(TESTABLE) ## What CI runs: format, lint, types, schema drift, tests with coverage
	$(BIN)/python -m pip --disable-pip-version-check check # the locks are complete
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(PROTOC)
	$(OPENAPI)
	# What is generated must be what schema/ says; run make schema and commit.
	git diff --exit-code -- shop/schema docs/openapi.yaml
	$(KAFKA)
	# Coverage sees nothing in the others, and would slow them down.
	$(PYTEST) $(QUICK) --cov --cov-report=term:skip-covered --cov-fail-under=90
	$(PYTEST) $(OTHERS) -m "not long"

simulate: $(TESTABLE) ## Run the real code under seeded faults (SEEDS=100000 FIRST=1; SEED=123 repeats one)
	@$(BIN)/python -m proof.simulation $(call option,seeds,SEEDS) $(call option,first,FIRST) $(call option,seed,SEED)

mutants: $(TESTABLE) ## Put known bugs into the code, one at a time, and find each (MUTANTS=simulation or small for one list)
	@case "$(MUTANTS)" in ""|simulation|small) ;; *) echo "MUTANTS is simulation or small, or nothing for both"; exit 2;; esac
	@[ "$(MUTANTS)" = small ] || $(BIN)/python -m proof.simulation --mutants $(call option,seeds,SEEDS)
	@[ "$(MUTANTS)" = simulation ] || $(BIN)/python -m proof.mutants

replay-proof: $(TESTABLE) ## Record 10,000 orders and replay them: nothing changes, unless a function has a bug
	@$(BIN)/python -m proof.replay

faults: $(TESTABLE) ## Break every part under load, in random order (MINUTES=30; SEED=123 repeats that order)
	@$(BIN)/python -m proof.faults $(call option,minutes,MINUTES) $(call option,seed,SEED)

# What it is compared with, unless BASELINE names another revision, or none: BASELINE=
bench: BASELINE ?= 67d5614
bench: $(MEASURABLE) ## Measure it beside others, in half an hour (MINUTES=30 ROUNDS=6 PARTS=a,b BASELINE=67d5614)
	@$(BIN)/python -m bench $(call option,minutes,MINUTES) $(call option,rounds,ROUNDS) $(call option,parts,PARTS) \
	  $(call option,baseline,BASELINE)

soak: $(MEASURABLE) ## Order for long: memory, descriptors and latency must not grow (ORDERS=200000)
	@$(BIN)/python -m bench.soak $(call option,orders,ORDERS)

new: $(TESTABLE) ## Make a function that does nothing yet (NAME=refund_order; SERVICE=billing, TOPIC=results)
	@[ -n "$(NAME)" ] || { echo "Say what to call it, a verb and a noun: make new NAME=refund_order"; exit 2; }
	@$(BIN)/python -m new $(call option,name,NAME) $(call option,service,SERVICE) $(call option,topic,TOPIC)
	@$(PROTOC)
	@$(OPENAPI)

schema: $(TESTABLE) ## Generate shop/schema, and the schemas of docs/openapi.yaml, from schema/*.proto
	$(PROTOC)
	$(OPENAPI)

image: $(DEPLOYABLE) ## Build the image of all functions (IMAGE=name:tag BASE=python:3.12-slim; FOR=orders)
	@[ -n "$(IMAGE)" ] || { echo "Say what to call it: make image IMAGE=registry.internal/shop:0.1.0"; exit 2; }
	@$(BIN)/python -m deploy image $(call option,image,IMAGE) $(call option,base,BASE) $(call option,for,FOR)

sbom: $(DEPLOYABLE) ## Write what the image contains, as CycloneDX JSON (OUTPUT=sbom.cdx.json)
	@$(BIN)/python -m deploy sbom $(call option,output,OUTPUT)

# A folder of knative/overlays, or one elsewhere.
OVERLAY ?= quickstart
ONTO = $(BIN)/python -m deploy deploy $(call option,overlay,OVERLAY) $(call option,image,IMAGE) \
  $(call option,timeout,TIMEOUT)

deploy: $(DEPLOYABLE) ## Apply an overlay, wait, say what is not ready (OVERLAY=quickstart IMAGE=name:tag TIMEOUT=600)
	@$(ONTO)

deploy-kn: $(DEPLOYABLE) ## The same with kn, for what kn can make (OVERLAY=quickstart IMAGE=name:tag TIMEOUT=600)
	@$(ONTO) --kn

i: deploy ## Install: short for make deploy

ui: undeploy ## Uninstall: short for make undeploy

undeploy: $(DEPLOYABLE) ## Remove the functions from the cluster, never their data (OVERLAY=quickstart)
	@$(BIN)/python -m deploy undeploy $(call option,overlay,OVERLAY)

status: $(DEPLOYABLE) ## Show URL, readiness, revision and consumer lag (NAMESPACE=shop)
	@$(BIN)/python -m deploy status $(call option,namespace,NAMESPACE)

smoke: $(DEPLOYABLE) ## Place an order at a running shop, and check the money (URL=http://HOST NAMESPACE=shop TOKEN=...)
	@$(BIN)/python -m deploy smoke $(call option,url,URL) $(call option,namespace,NAMESPACE)

fmt: $(TESTABLE) ## Format the code, and fix what the linter can
	$(BIN)/ruff check --fix-only -q
	$(BIN)/ruff format

lock: $(VENV)/made ## Lock the dependencies of pyproject.toml again, with hashes
	$(BIN)/python -m pip install --disable-pip-version-check --quiet uv
	for extras in "functions" "orders --extra orders" "local --extra local" "dev --extra local --extra dev"; do \
	  set -- $$extras; file=requirements/$$1.txt; shift; \
	  $(BIN)/uv pip compile -q pyproject.toml "$$@" --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-header -o $$file; \
	done
	$(BIN)/uv pip compile -q pyproject.toml --extra local --extra bench -c requirements/dev.txt --universal \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -o requirements/bench.txt

clean: ## Remove the data and logs of make run (LOCAL_DIR=.stack; installed programs stay)
	@python=$(BIN)/python; [ -x $$python ] || python=$(PYTHON); \
	  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or later is needed; $$python is not. Name another one: make clean PYTHON=python3.12"; exit 1; }; \
	  exec $$python -m local.clean

# What is installed: one environment, from a lock with hashes. `dev` holds all that `local` does.
$(VENV)/dev.done: requirements/dev.txt $(VENV)/made
	@echo "Installing the tools and dependencies into $(VENV) (about a minute, once)"
	@$(INSTALL) requirements/dev.txt
	@touch $(VENV)/local.done $(VENV)/orders.done $@

$(VENV)/local.done: requirements/local.txt $(VENV)/made
	@echo "Installing the dependencies into $(VENV) (about a minute, once)"
	@$(INSTALL) requirements/local.txt
	@touch $(VENV)/orders.done $@

# The verbs for an image and a cluster need no more than the `orders` command does. What `make run` needs holds all of it.
$(VENV)/orders.done: requirements/orders.txt $(VENV)/made
	@echo "Installing the dependencies of this target into $(VENV) (seconds, once)"
	@$(INSTALL) requirements/orders.txt
	@touch $@

# On top of what is there, and in the same versions: what is measured must be what is shipped.
$(VENV)/bench.done: requirements/bench.txt | $(VENV)/local.done
	@echo "Installing what make bench compares with into $(VENV) (half a minute, once)"
	@$(INSTALL) requirements/bench.txt
	@touch $@

# The `orders` command, and the project's packages by name from any folder.
$(BIN)/orders: pyproject.toml | $(VENV)/local.done
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/made: | placed
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or later is needed; $(PYTHON) is not. Name another one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
	  echo "Python's venv module is missing; install it: apt-get install python3-venv"; exit 1; }
	@mkdir -p $(VENV) && [ -w $(VENV) ] || { \
	  echo "This folder cannot be written; copy the project to one that can, and run make there"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "$(VENV) could not be made, for the reason above"; rm -rf $(VENV); exit 1; }
	@touch $@

# The programs in a virtual environment name the folder that it was made in, and are found nowhere else.
placed:
	@[ ! -e $(VENV)/pyvenv.cfg ] || here="$$(pwd -P)/$(VENV)" awk ' \
	  /^command = .* -m venv / { made = $$0; sub(/^.* -m venv /, "", made) } \
	  END { if (made && made != ENVIRON["here"]) { print "This folder was moved, or is a copy of " made; exit 1 } } \
	' $(VENV)/pyvenv.cfg || { echo "Install what it needs anew: rm -rf $(VENV), then run make again"; exit 1; }
