"""Tries a wheel in Debian 11: its own Python 3.9, pip and glibc 2.31, unpacked below target/. Needs no root.

    make debian-11

Needs apt-get, dpkg-deb, Debian's keyring and a Debian mirror: DEBIAN_MIRROR, or else the first one of this machine's apt.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "target" / "debian"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# The names of Python and Rust, and Debian's.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

WHERE = """
import platform
files = {line.split()[-1] for line in open("/proc/self/maps")}
libc = ["/".join(file.split("/")[-2:]) for file in files if "/libc-" in file or "/libc." in file]
print("Python", platform.python_version(), "on", *libc)
"""
# Python ends slowly, so that the threads meet the end: libgcc_s ends such a thread, zig's own unwinder dies of it.
DAEMON = """
import threading, time, saymon_bulk
from saymon_bulk.testing import PracticeServer

class Slow:
    def __del__(self, sleep=time.sleep):
        sleep(1)

slow = Slow()
with PracticeServer("login", "password") as server:
    client = saymon_bulk.Client(server.host, "login", "password")
    polled = threading.Event()
    wait = dict(interval=0.01, max_interval=0.01, on_poll=lambda *_: polled.set())
    for _ in range(4):
        threading.Thread(target=client.wait_for_bulk, args=[server.add_bulk(60)], kwargs=wait, daemon=True).start()
    assert polled.wait(60)
print("Daemon threads wait while Python ends.")
"""


def say(text: str) -> None:
    print(f"- {text}", flush=True)


def stop(why: str) -> NoReturn:
    sys.exit(f"{Path(sys.argv[0]).name}: {why}")


def tool(name: str, package: str) -> str:
    """The path of a program, or a sentence that says how to get it."""
    return shutil.which(name) or stop(f"{name} is not installed; Debian and Ubuntu have it in the package {package}")


def run(*command: str | Path, cwd: Path | None = None, environment: Mapping[str, str] = os.environ) -> None:
    """Run a command that must succeed."""
    done = subprocess.run(command, cwd=cwd, env=environment, check=False)
    if done.returncode:
        stop(f"{Path(command[0]).name} ended with {done.returncode}")


def mirror() -> str:
    if given := os.environ.get("DEBIAN_MIRROR"):
        return given
    command = [tool("apt-get", "apt"), "indextargets", "--format", "$(REPO_URI)"]
    for uri in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        if uri.rstrip("/").endswith("/debian"):
            return uri
    stop("this machine's apt knows no Debian mirror; set DEBIAN_MIRROR to the address of one")


def apt(place: Path, kind: str, suite: str, architecture: str, *words: str) -> None:
    """Run apt-get with a configuration of its own, for one suite, in a new folder; it downloads to there."""
    if not KEYRING.exists():
        stop(f"{KEYRING} is missing; Debian and Ubuntu have it in the package debian-archive-keyring")
    for folder in ("etc/apt.conf.d", "etc/preferences.d", "lists/partial", "archives/partial"):
        (place / folder).mkdir(parents=True)
    (place / "status").touch()
    (place / "etc/sources.list").write_text(f"{kind} [signed-by={KEYRING}] {mirror()} {suite} main\n", encoding="utf-8")
    settings = {
        "Dir::Etc": place / "etc",
        "Dir::State": place,
        "Dir::State::status": place / "status",
        "Dir::Cache": place,
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "",
        "APT::Install-Recommends": "false",
        # The signature of an old suite is not renewed.
        "Acquire::Check-Valid-Until": "false",
        "Acquire::Languages": "none",
    }
    configuration = place / "apt.conf"
    configuration.write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()), encoding="utf-8")
    environment = {**os.environ, "APT_CONFIG": str(configuration)}
    for command in (["update"], words):
        run(tool("apt-get", "apt"), "-qq", *command, cwd=place / "archives", environment=environment)


@contextmanager
def making(place: Path) -> Iterator[Path]:
    """A folder beside a new place, which takes that place when it is complete."""
    half = place.with_name(place.name + ".half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    yield half
    half.rename(place)


def unpack(suite: str, architecture: str, package: str, *, alone: bool = False) -> Path:
    """A folder with a package of Debian and, unless `alone`, with all that the package needs."""
    place = TARGET / f"{suite}-{architecture}-{package}".rstrip("*")
    if not place.exists():
        say(f"unpacking {package.rstrip('*')} of Debian's {suite}, {architecture}")
        words = ["download"] if alone else ["--yes", "--download-only", "install"]
        with making(place) as half:
            apt(half / "apt", "deb", suite, architecture, *words, package)
            for archive in sorted((half / "apt/archives").glob("*.deb")):
                run(tool("dpkg-deb", "dpkg"), "--extract", archive, half)
            shutil.rmtree(half / "apt")
    return place


def emulator(machine: str) -> list[str]:
    """What runs the programs of another processor: this machine's qemu, or else Debian's."""
    here = platform.machine()
    if machine == here:
        return []
    name = f"qemu-{machine}-static"
    debians = "usr/bin/" + name
    return [shutil.which(name) or str(unpack("bookworm", ARCHITECTURES[here], "qemu-user-static", alone=True) / debians)]


def try_in_debian_11(wheel: Path, machine: str) -> None:
    """Install a wheel with the pip of Debian 11, then see it work."""
    root = unpack("bullseye", ARCHITECTURES[machine], "python3-pip")
    libraries = f"{machine}-linux-gnu"
    # Not a chroot: Debian's loader runs Debian's Python with Debian's libraries.
    (loader,) = (root / "lib" / libraries).glob("ld-linux-*.so.*")
    paths = f"{root}/lib/{libraries}:{root}/usr/lib/{libraries}"
    python = [*emulator(machine), str(loader), "--library-path", paths, str(root / "usr/bin/python3.9")]
    site = TARGET / f"site-{machine}"
    shutil.rmtree(site, ignore_errors=True)
    home = {"PATH": os.environ["PATH"], "PYTHONHOME": f"{root}/usr"}
    run(*python, "-m", "pip", "--quiet", "install", "--no-index", "--target", site, wheel, environment=home)
    see_it_work(python, {**home, "PYTHONPATH": str(site)})


def see_it_work(python: list[str], environment: Mapping[str, str]) -> None:
    for words in (["-c", WHERE], [ROOT / "examples/demo.py"], ["-c", DAEMON]):
        run(*python, *words, environment=environment)


def main() -> None:
    if sys.platform != "linux" or platform.machine() not in ARCHITECTURES:
        stop("Linux on x86-64 or aarch64 is needed")
    if len(sys.argv) != 2:
        stop("the path of one wheel is needed")
    try_in_debian_11(Path(sys.argv[1]), platform.machine())


if __name__ == "__main__":
    main()
