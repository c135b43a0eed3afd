"""Builds the wheels for other Linux systems on this one, and sees them work where a Python is at hand. Needs no root.

    make wheels-cross

Needs what `make wheel` and `debian.py` need. A standard library that rustup has not installed (`rustup target add`) is
built from its sources: those of rustup, or else Debian's. For aarch64, Debian 11 runs under qemu. For musl, CPython is
built from Debian's sources, which needs make and xz; for musl on another processor there is no Python here.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from debian import ARCHITECTURES, ROOT, TARGET, apt, making, run, say, see_it_work, stop, tool, try_in_debian_11, unpack

HERE = platform.machine()
TARGETS = ("aarch64-unknown-linux-gnu", "x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl")


def rustc(*words: str) -> str:
    done = subprocess.run([tool("rustc", "rustup"), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def with_sources(sysroot: Path, release: str) -> Path:
    """A twin of a Rust toolchain that has the sources of the standard library too, from Debian."""
    place = TARGET / f"rust-{release}"
    if not place.exists():
        sources = unpack("trixie-backports", ARCHITECTURES[HERE], f"rust-src={release}*", alone=True)
        with making(place) as half:
            # Not links to folders: rustc finds its sysroot by its own real path.
            shutil.copytree(sysroot / "bin", half / "bin")
            shutil.copytree(sysroot / "lib", half / "lib", symlinks=True)
            (half / "lib/rustlib/src").mkdir(exist_ok=True)
            (half / "lib/rustlib/src/rust").symlink_to(sources / f"usr/src/rustc-{release}")
    return place


def environment_for(target: str) -> dict[str, str]:
    """With the standard library that rustup has installed, or else with what builds it."""
    paths = [str(Path(sys.executable).parent), os.environ["PATH"]]
    sysroot = Path(rustc("--print", "sysroot"))
    if (sysroot / "lib/rustlib" / target / "lib").exists():
        return {**os.environ, "PATH": os.pathsep.join(paths)}
    say(f"rustup has no standard library for {target} here: it is built from its sources")
    if not (sysroot / "lib/rustlib/src/rust/library").exists():
        release = rustc("--version").split()[1]
        paths.insert(0, str(with_sources(sysroot, release) / "bin"))
    # The option is cargo's own but not stable yet.
    unstable = {"RUSTC_BOOTSTRAP": "1", "CARGO_UNSTABLE_BUILD_STD": "std,panic_unwind"}
    return {**os.environ, **unstable, "PATH": os.pathsep.join(paths)}


def build(target: str) -> Path:
    """The wheel for a target, in a folder of its own."""
    machine, _, libc = target.partition("-unknown-linux-")
    if libc == "musl":
        tag, flag = "musllinux_1_2", "target-feature=-crt-static"
    else:
        # As in `make wheel`: libgcc_s, here Debian 11's.
        root = unpack("bullseye", ARCHITECTURES[machine], "python3-pip")
        tag, flag = "manylinux2014", f"link-arg={root}/lib/{machine}-linux-gnu/libgcc_s.so.1"
    out = ROOT / "target/wheels-cross" / target
    shutil.rmtree(out, ignore_errors=True)
    say(f"building for {target}")
    command = [sys.executable, "-m", "maturin", "build", "--quiet", "--release", "--locked", "--zig"]
    command += ["--target", target, "--compatibility", tag, "--out", str(out), "--", "-C", flag]
    run(*command, cwd=ROOT, environment=environment_for(target))
    (wheel,) = out.glob("*.whl")
    say(f"{wheel.relative_to(ROOT)}: {wheel.stat().st_size:,} bytes")
    return wheel


def python_on_musl() -> Path:
    """CPython 3.13, built from Debian's sources with zig for Debian's musl, quickly and without OpenSSL."""
    place = TARGET / "python-on-musl"
    if not place.exists():
        musl = unpack("trixie", ARCHITECTURES[HERE], "musl", alone=True)
        say("building CPython on musl")
        with making(place) as half:
            apt(half / "apt", "deb-src", "trixie", ARCHITECTURES[HERE], "--download-only", "source", "python3.13")
            (archive,) = (half / "apt/archives").glob("*.orig.tar.xz")
            run(tool("tar", "tar"), "--extract", "--strip-components=1", "--file", archive, cwd=half)
            compiler = half / "cc"
            compiler.write_text(
                f'#!/bin/sh\n[ "$1" = --print-multiarch ] && echo {HERE}-linux-musl && exit\n'
                f'exec "{sys.executable}" -m ziglang cc -target {HERE}-linux-musl -dynamic "$@"\n',
                encoding="utf-8",
            )
            compiler.chmod(0o755)
            settings = [
                f"CC={compiler}",
                f"LDFLAGS=-Wl,-dynamic-linker,{musl}/usr/lib/ld-musl-{HERE}.so.1",
                "CFLAGS=-w -Wno-date-time",
                "OPT=-O1",
                # None of this machine's libraries.
                "PKG_CONFIG=false",
                "--disable-test-modules",
            ]
            run("./configure", "--quiet", *settings, cwd=half)
            run(tool("make", "make"), "--silent", f"--jobs={os.cpu_count()}", "build_all", cwd=half)
    return place


def try_on_musl(wheel: Path) -> None:
    python = python_on_musl() / "python"
    site = TARGET / "site-musl"
    shutil.rmtree(site, ignore_errors=True)
    shutil.unpack_archive(wheel, site, "zip")
    see_it_work([str(python)], {"PATH": os.environ["PATH"], "PYTHONPATH": str(site)})


def main() -> None:
    if sys.platform != "linux" or HERE not in ARCHITECTURES:
        stop("Linux on x86-64 or aarch64 is needed")
    targets = sys.argv[1:] or TARGETS
    if not set(targets) <= set(TARGETS):
        stop(f"the targets are {', '.join(TARGETS)}")
    for target in targets:
        wheel = build(target)
        machine = target.partition("-")[0]
        if target.endswith("-gnu"):
            try_in_debian_11(wheel, machine)
        elif machine == HERE:
            try_on_musl(wheel)
        else:
            say(f"no Python for musl on {machine} is at hand: this wheel was built and not tried")


if __name__ == "__main__":
    main()
