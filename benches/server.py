"""nginx on loopback: one worker, the password asked for, the same short answer to everybody."""

from __future__ import annotations

import base64
import os
import pwd
import socket
import subprocess
import time
from pathlib import Path

LOGIN, PASSWORD = "bench", "opensesame"
AUTHORIZATION = "Basic " + base64.b64encode(f"{LOGIN}:{PASSWORD}".encode()).decode()
SITES = ("plain", "tls", "closing")

CONFIGURATION = """
{user}
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 4096; }}
http {{
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    log_format witness '$server_port $connection $ssl_session_reused. $uri';
    access_log {log};
    default_type application/json;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    ssl_certificate {certificates}/server.pem;
    ssl_certificate_key {certificates}/server.key;
    server {{ listen 127.0.0.1:{plain}; include answer.conf; }}
    server {{ listen 127.0.0.1:{tls} ssl; include answer.conf; }}
    server {{ listen 127.0.0.1:{closing} ssl; keepalive_timeout 0; include answer.conf; }}
}}
"""
ANSWER = f"""
if ($http_authorization != "{AUTHORIZATION}") {{ return 401; }}
location /node/api/bulk/ {{ return 200 '{{"finished": true}}'; }}
location /node/api/bulk/running- {{ return 200 '{{"finished": false}}'; }}
"""


class Server:
    """With `log` it writes down every request's connection, for the checks; without, it is as quick as it can be."""

    def __init__(self, command: Path, certificates: Path, folder: Path, *, log: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in SITES]
        self.ports = {site: s.getsockname()[1] for site, s in zip(SITES, sockets)}
        for s in sockets:
            s.close()
        user = f"user {pwd.getpwuid(0).pw_name} root;" if os.geteuid() == 0 else ""
        text = CONFIGURATION.format(
            user=user, log="witness.log witness" if log else "off", certificates=certificates, **self.ports
        )
        (folder / "nginx.conf").write_text(text)
        (folder / "answer.conf").write_text(ANSWER)
        (folder / "witness.log").write_text("")
        with (folder / "stderr").open("wb") as errors:
            # A group of its own: Ctrl-C ends the bench, which then ends nginx.
            self._process = subprocess.Popen(
                [command, "-p", f"{folder}/", "-c", "nginx.conf"], stdout=errors, stderr=errors, start_new_session=True
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        for _ in range(500):
            if self._process.poll() is not None:
                raise RuntimeError(f"nginx has ended: {(self._folder / 'stderr').read_text()}")
            try:
                for port in self.ports.values():
                    socket.create_connection(("127.0.0.1", port)).close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError("nginx does not listen")

    def url(self, site: str) -> str:
        return f"{'http' if site == 'plain' else 'https'}://127.0.0.1:{self.ports[site]}"

    def run_on(self, cores: set[int]) -> None:
        master = self._process.pid
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        for pid in [master, *map(int, children)]:
            os.sched_setaffinity(pid, cores)

    def seen(self, prefix: str, calls: int) -> tuple[int, int, int]:
        """Of the requests whose id starts so: how many, on how many connections, how many of these resumed a session."""
        start = f"/node/api/bulk/{prefix}"
        for _ in range(100):
            lines = [line.split(" ", 3) for line in (self._folder / "witness.log").read_text().splitlines()]
            lines = [line for line in lines if len(line) == 4 and line[3].startswith(start)]
            if len(lines) >= calls:
                break
            time.sleep(0.01)
        connections = {number for _, number, _, _ in lines}
        resumed = {number for _, number, reused, _ in lines if reused == "r."}
        return len(lines), len(connections), len(resumed)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
