"""A real nginx with the configuration that deployers get."""

import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.server import ROOT, free_port

CONFIGURATION = ROOT / "deploy" / "nginx.conf"
NAME = "example.org"
"""What the site is called in the configuration."""
PATIENCE_SECONDS = 20


@dataclass(frozen=True)
class Nginx:
    """Ways to a running nginx; clients choose their address, since all of 127.0.0.0/8 is ours."""

    folder: Path
    tls_port: int
    clear_port: int
    trusted: ssl.SSLContext

    @property
    def log(self) -> str:
        """What has been refused and what has failed so far."""
        return (self.folder / "error.log").read_text()

    @property
    def requests(self) -> str:
        """The access log so far."""
        return (self.folder / "access.log").read_text()

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """A TCP connection to the port of TLS, on which nothing was said yet."""
        return self._connect(self.tls_port, source)

    def connect_in_clear(self) -> socket.socket:
        """A connection to the port without TLS."""
        return self._connect(self.clear_port, "127.0.0.1")

    def connect_by_tls(self, source: str = "127.0.0.1", name: str = NAME) -> ssl.SSLSocket:
        """A connection after the TLS handshake."""
        connection = self.connect(source)
        try:
            return self.trusted.wrap_socket(connection, server_hostname=name)
        except BaseException:
            connection.close()
            raise

    def _connect(self, port: int, source: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS, (source, 0))


@contextmanager
def proxy(
    program: str, folder: Path, ports: Sequence[int], changes: Mapping[str, str]
) -> Iterator[Nginx]:
    """A running nginx before the servers at `ports`, with texts of its configuration changed."""
    nginx = Nginx(folder, free_port(), free_port(), _create_certificate(folder))
    configuration, errors = folder / "nginx.conf", folder / "error.log"
    configuration.write_text(_configuration(nginx, ports, changes))
    command = [program, "-p", str(folder), "-c", str(configuration), "-e", str(errors)]
    check = subprocess.run([*command, "-t", "-q"], capture_output=True, text=True, check=False)
    assert (check.returncode, check.stderr) == (0, "")
    process = subprocess.Popen([*command, "-g", "daemon off;"])
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _accepts(nginx):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nginx did not start:\n{nginx.log}")
            time.sleep(0.02)
        yield nginx
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def _configuration(nginx: Nginx, ports: Sequence[int], changes: Mapping[str, str]) -> str:
    """What ships, with this machine's ports and folders. Raises ValueError if it changed."""
    folder = nginx.folder
    temporary = "".join(
        f"{kind}_temp_path {folder / kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    here = {
        # Workers must be able to enter the folder, and only root can become somebody else.
        "user www-data;": "user root;" if os.geteuid() == 0 else "",
        "/run/nginx.pid": str(folder / "pid"),
        "/var/log/nginx/": f"{folder}/",
        "/etc/letsencrypt/live/example.org/": f"{folder}/",
        "http {\n": f"http {{\n{temporary}",
        "listen 80": f"listen 127.0.0.1:{nginx.clear_port}",
        "listen 443": f"listen 127.0.0.1:{nginx.tls_port}",
        "listen [::]:80": f"listen [::1]:{nginx.clear_port}",
        "listen [::]:443": f"listen [::1]:{nginx.tls_port}",
    }
    text = CONFIGURATION.read_text()
    for old, new in (here | dict(changes)).items():
        if old not in text:
            raise ValueError(f"{CONFIGURATION} has no {old!r} any more.")
        text = text.replace(old, new)
    servers = re.findall(r"^ +server 127\.0\.0\.1:\d+.*;\n", text, re.MULTILINE)
    if not servers:
        raise ValueError(f"{CONFIGURATION} has no server any more.")
    lines = [re.sub(r":\d+", f":{port}", servers[0]) for port in ports]
    text = text.replace("".join(servers), "".join(lines))
    if not _has_ipv6():
        text = "".join(line for line in text.splitlines(keepends=True) if "[::1]" not in line)
    return text


def _create_certificate(folder: Path) -> ssl.SSLContext:
    """Write a certificate where nginx looks for it; return a context that trusts it alone."""
    certificate = folder / "fullchain.pem"
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={NAME}"]
    command += ["-addext", f"subjectAltName=DNS:{NAME}"]
    command += ["-keyout", str(folder / "privkey.pem"), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return ssl.create_default_context(cafile=certificate)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _accepts(nginx: Nginx) -> bool:
    try:
        nginx.connect().close()
    except ConnectionError:
        return False
    return True
