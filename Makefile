# make demo: see it work.  make check: the loop while one works.  make test: everything that must hold.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

# Nothing of the caller's may change what is built or tested. Without bytecode, each worker of pytest compiles all tests.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV CONDA_PREFIX PYTHONDONTWRITEBYTECODE

.PHONY: demo develop check test lint format clippy clippy-core types rust wheel install stubs pytest clock \
	docs debian-11 wheels-cross check-windows audit bench fuzz soak clean

demo: $(VENV)/demo
	@echo "== demo: starts a bulk operation at a practice server, and waits for its end"
	$(BIN)/python examples/demo.py

# The package alone, as pip installs it.
$(VENV)/demo: Cargo.toml Cargo.lock pyproject.toml $(shell find src python -name '*.rs' -o -name '*.py' -o -name '*.pyi')
	@echo "== demo: builds the package and installs it in $(VENV); 3 to 6 minutes on two cores, silent until the end"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check .
	touch $@

$(VENV)/tools: tests/requirements.txt
	@echo "== tools: installs what the tests need in $(VENV), from PyPI; 2 to 6 minutes at first, silent until the end"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	touch $@

# Quick to build, for work on the code; `make test` builds what users get. PIP_QUIET: pip says of each optional package that it is
# ignored.
develop: $(VENV)/tools
	@echo "== develop: a debug build, installed in $(VENV); 2 minutes on two cores at first, seconds after that"
	PIP_QUIET=1 $(BIN)/maturin develop --quiet
	@echo "== develop: ready, for example for $(BIN)/python -m pytest -n 4 tests/wait"

QUICK = not slow and not package

# What of it needs no other step runs beside it: steps of cargo in one folder take turns by its lock.
check: $(VENV)/tools
	$(MAKE) --no-print-directory -j format types develop
	$(MAKE) --no-print-directory -j clippy rust pytest MARKED="$(QUICK)" WORKERS=4 RUST_TESTS=--lib
	@echo "== check: all well; make test runs the rest"

test: $(VENV)/tools
	$(MAKE) --no-print-directory -j lint types rust wheel
	$(MAKE) --no-print-directory install
	$(MAKE) --no-print-directory -j stubs pytest
	$(MAKE) --no-print-directory clock
	@echo "== test: all well"

lint: format clippy clippy-core

format: $(VENV)/tools
	@echo "== format: cargo fmt, ruff"
	cargo fmt --check
	$(BIN)/ruff format --quiet --check
	$(BIN)/ruff check --quiet

clippy:
	@echo "== clippy: the package"
	cargo clippy --quiet --all-targets --locked -- --deny warnings

clippy-core:
	@echo "== clippy: the core without Python"
	cargo clippy --quiet --all-targets --locked --no-default-features -- --deny warnings

types: $(VENV)/tools
	@echo "== types: mypy"
	$(BIN)/mypy --no-error-summary

# RUST_TESTS=--lib leaves out the corpus of the fuzzer, which takes longer than all others.
rust:
	@echo "== rust: the tests of the core"
	cargo test --quiet --locked --no-default-features $(RUST_TESTS)

# Most tests wait most of the time, hence more workers than cores. Two tests at a time each, so that slow ones are spread.
WORKERS ?= 8
MARKED ?=
pytest: $(VENV)/tools
	@echo "== pytest: $(or $(MARKED),all tests), $(WORKERS) at the same time"
	$(BIN)/python -m pytest -q -n $(WORKERS) --maxschedchunk 2 -m "not clock$(if $(MARKED), and $(MARKED))"

# With nothing beside. They wait most of the time, so three at a time leave the processor idle.
clock: $(VENV)/tools
	@echo "== clock: pytest, the tests with narrow bounds on the clock"
	$(BIN)/python -m pytest -q -n 3 --maxschedchunk 1 -m "clock$(if $(MARKED), and $(MARKED))"

# On Linux with glibc, zig links against glibc 2.17, for old systems. zig's own unwinder ends daemon threads in SIGSEGV,
# so libgcc_s is linked: by its path, since the zig linker of maturin replaces `-lgcc_s`.
wheel: $(VENV)/tools
	@echo "== wheel: a release build"
	rm -rf target/wheels
	@host=$$(rustc -vV | sed -n 's/^host: //p'); \
	case $$host in \
	*-linux-gnu) set -- --zig --target $$host --compatibility manylinux2014 \
		-- -C "link-arg=$$(cc -print-file-name=libgcc_s.so.1)" ;; \
	*) set --; echo "zig is not used on $$host: a wheel for this system alone, not manylinux_2_17" ;; \
	esac; \
	PATH="$(abspath $(BIN)):$$PATH" maturin build --quiet --release --locked --out target/wheels "$$@"

# The wheel itself is what is tested, not the work tree.
install: $(VENV)/tools
	@echo "== install: the wheel"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps target/wheels/*.whl

stubs: $(VENV)/tools
	@echo "== stubs: stubtest"
	$(BIN)/python -m mypy.stubtest saymon_bulk --allowlist tests/stubtest.txt --ignore-unused-allowlist

# The site, strict: a broken link ends it. The package itself need not be built, since its docstrings are read and not run.
DOCS = target/docs
$(DOCS)/installed: docs/requirements.txt
	@echo "== docs: MkDocs, in a virtual environment of its own"
	$(PYTHON) -m venv --clear $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check -r docs/requirements.txt
	touch $@

docs: $(DOCS)/installed
	@echo "== docs: the site"
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --clean
	@echo "== docs: all well; open target/site/index.html, or with its search: $(PYTHON) -m http.server -d target/site"

# The wheel with the Python and the glibc of Debian 11, without root.
debian-11: wheel
	$(BIN)/python tools/debian.py target/wheels/*.whl

# Wheels for aarch64 and musl, built and tried on this machine, without root.
wheels-cross: $(VENV)/tools
	$(BIN)/python tools/cross.py

# Lints and links for Windows, on Linux. Runs nothing.
check-windows: $(VENV)/tools
	$(BIN)/python tools/windows.py

# Needs `cargo install cargo-deny --locked` and the network, for RustSec's advisories and PyPI's. Strict: what
# pip-audit could not look up is no pass.
audit: $(VENV)/tools
	cargo deny --locked check bans licenses sources
	cargo deny --locked check advisories
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/pip-audit --strict --progress-spinner off --requirement tests/requirements.txt

# Against the peers, in virtual environments of their own; `make bench BENCH=--short` ends in five minutes.
bench:
	$(PYTHON) benches/run.py $(BENCH)

# Minutes and not seconds: each target for FUZZ_SECONDS. Needs `cargo install cargo-fuzz`.
FUZZ_SECONDS ?= 600
fuzz:
	cd fuzz && for target in host id answer start search error_body retry_after certificate; do \
		mkdir -p corpus/$$target && RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir . --sanitizer none \
			$$target corpus/$$target seeds/$$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

# Mixed use against failing servers: nothing wrong, nothing lost, memory flat. Of the wheel that `make test` installed. The
# threads of waits share two arenas of malloc: with one for each, memory rises for minutes.
MINUTES ?= 20
soak:
	PYTHONPATH=$(abspath tests/support) MALLOC_ARENA_MAX=2 $(BIN)/python tools/soak.py --minutes $(MINUTES)

clean:
	rm -rf target dist $(VENV)
