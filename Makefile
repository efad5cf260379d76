# Every target sets up what it needs: the servers that tests run (from Debian's packages) and .venv (from the locks).
# A stamp in .venv makes the second run quick; a changed lock sets up again.

PYTHON ?= python3
export PYTHON
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
LOCK_TOOLS := build/lock-tools
COMPILE := env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null CUSTOM_COMPILE_COMMAND="make lock" \
	$(LOCK_TOOLS)/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --annotation-style=line \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options

.PHONY: help setup check format test crash load scaling bench performance schedule deliveries headers replies messages bad-input fuzz-commands history demo docs lock clean

help: ## Show the targets.
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 15

setup: $(STAMP) ## Set up .venv.

$(STAMP): requirements-dev.lock requirements.lock
	deploy/install-packages.sh python
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

check: $(STAMP) ## Format, lint, types, architecture, docs: all that needs no server.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_architecture.py tests/test_docs.py

format: $(STAMP) ## Put the code in the form that `check` asks for.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: $(STAMP) ## All tests, with real servers.
	deploy/install-packages.sh servers
	$(BIN)/pytest -n 3 --dist loadfile

crash: $(STAMP) ## Play every fault N times at random points and account for the mail: make crash N=10.
	deploy/install-packages.sh servers
	$(BIN)/python -m tests.crash.repeat $(or $(N),10) $(if $(WRITE),--write)

load: $(STAMP) ## MAILS mails while workers are killed at random for so many SECONDS: make load SECONDS=300 MAILS=10000.
	deploy/install-packages.sh servers
	$(BIN)/python -m tests.crash.load --seconds $(or $(SECONDS),300) --mails $(or $(MAILS),10000)

headers: $(STAMP) ## Read N generated headers, and show the time over their size: make headers N=1000000.
	$(BIN)/python -m tests.bench.million_headers $(or $(N),1000000)

bad-input: $(STAMP) ## Print the table of wrong configurations, command lines and surroundings, with what each printed.
	@$(BIN)/python -m tests.bad_input

fuzz-commands: $(STAMP) ## Try N command lines and N configurations that no person would write: make fuzz-commands N=2000.
	$(BIN)/python -m tests.bad_input.fuzz $(or $(N),2000)

messages: $(STAMP) ## Decode N damaged messages of the queues, and show what the largest take: make messages N=1000000.
	$(BIN)/python -m tests.bench.million_messages $(or $(N),1000000)

replies: $(STAMP) ## Read N generated replies with the POP3 reader, and show the time over their size: make replies N=1000000.
	$(BIN)/python -m tests.bench.million_replies $(or $(N),1000000)

deliveries: $(STAMP) ## Deliveries a second to LMTP and Maildir, and the cost of a sick target beside a healthy one.
	deploy/install-packages.sh servers
	$(BIN)/python -m tests.bench.deliveries $(or $(N),1000)

bench: $(STAMP) ## PPS and its peers in turn on the same mailboxes, up to 20 minutes: make bench, or make bench W=a ROUNDS=1 PART=0.1.
	deploy/install-packages.sh servers
	deploy/install-packages.sh --try peers
	$(BIN)/python -m tests.bench.race $(if $(W),--workloads $(W)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(PART),--part $(PART)) \
		--json $(or $(JSON),build/bench.json)

performance: $(STAMP) ## Write docs/performance.md from what `make bench` measured.
	$(BIN)/python -m tests.bench.race.page

schedule: $(STAMP) ## What the schedule and one process bear: claims at 100,000 profiles, 1,000 mailboxes, 100 mails of 30 MB.
	deploy/install-packages.sh servers
	$(BIN)/python -m tests.bench.claims
	$(BIN)/python -m tests.bench.mailboxes
	$(BIN)/python -m tests.bench.mailboxes --large

history: $(STAMP) ## What a mail costs beside 1,000,000 settled ones in PostgreSQL, and beside none: make history N=1000000.
	deploy/install-packages.sh servers
	$(BIN)/python -m tests.bench.history --mails $(or $(N),1000000)

scaling: $(STAMP) ## Mails a second with 1, 2, 4 and 8 deliverers, and with 1, 2 and 4 fetchers, and what CPU each took.
	deploy/install-packages.sh servers
	$(BIN)/python -m tests.bench.scaling

demo: $(STAMP) ## Pull a sample catch-all mailbox and show where each mail went.
	deploy/install-packages.sh --try dovecot
	$(BIN)/python -m tests.demo

docs: $(STAMP) ## Write the generated parts of docs/ anew: keys and commands.
	$(BIN)/python -m tests.reference

lock: $(LOCK_TOOLS)/bin/pip-compile ## Resolve pyproject.toml anew: the newest versions, with the hashes of all their files.
	$(COMPILE) --upgrade --extra dev --output-file requirements-dev.lock pyproject.toml
	$(COMPILE) --upgrade --constraint requirements-dev.lock --output-file requirements.lock pyproject.toml

$(LOCK_TOOLS)/bin/pip-compile:
	deploy/install-packages.sh python
	$(PYTHON) -m venv $(LOCK_TOOLS)
	$(LOCK_TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check pip-tools==7.6.2

clean: ## Remove all that was set up or built here.
	rm -rf $(VENV) build demo *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
