"""Checks on Linux that the package compiles for Windows without a warning, and links. Needs no root.

    make check-windows

Needs Debian's gcc-mingw-w64-x86-64, and for a standard library that rustup has not installed what `cross.py` needs.
"""

from __future__ import annotations

from cross import environment_for
from debian import ROOT, run, say, tool

TARGET = "x86_64-pc-windows-gnu"


def main() -> None:
    tool("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64")
    # A folder of its own: the variables that build the standard library have cargo build everything again.
    environment = {**environment_for(TARGET), "CARGO_TARGET_DIR": str(ROOT / "target/windows")}
    common = ("--locked", "--target", TARGET)
    for features in ([], ["--no-default-features"]):
        say(" ".join(["clippy", *features]))
        lint = ["clippy", "--quiet", "--all-targets", *common, *features, "--", "--deny", "warnings"]
        run("cargo", *lint, cwd=ROOT, environment=environment)
    say("build")
    run("cargo", "build", "--quiet", "--lib", *common, cwd=ROOT, environment={**environment, "RUSTFLAGS": "-D warnings"})
    say(f"no warnings for {TARGET}; nothing was run")


if __name__ == "__main__":
    main()
