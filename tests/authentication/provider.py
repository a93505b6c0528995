"""An identity provider, as far as its keys and its tokens go."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

PATIENCE_SECONDS = 10
ISSUER, AUDIENCE = "https://id.example/", "https://api.example"


@cache
def private_key(name: str) -> Any:
    """A key of its own for each name; of elliptic curves, if it begins with "EC"."""
    return generate_ec(SECP256R1()) if name.startswith("EC") else generate_rsa(65537, 2048)


def jwk(name: str, **members: str) -> dict[str, Any]:
    """The public half of a key, as it is published."""
    kind = ECAlgorithm if name.startswith("EC") else RSAAlgorithm
    public: dict[str, Any] = kind.to_jwk(private_key(name).public_key(), as_dict=True)
    return {**public, "kid": name, **members}


def token(key: str = "one", /, sub: str = "ada", seconds: float = 60, **changes: Any) -> str:
    """A token of somebody; `headers`, or claims that differ, and are None to be left out."""
    headers = {"kid": key, **changes.pop("headers", {})}
    now = time.time()
    claims = {"sub": sub, "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + seconds}
    claims = {k: v for k, v in {**claims, **changes}.items() if v is not None}
    algorithm = headers.pop("alg", "ES256" if key.startswith("EC") else "RS256")
    headers = {k: v for k, v in headers.items() if v is not None}
    return jwt.encode(claims, private_key(key), algorithm, headers)


class Provider:
    """What it publishes, and how often it was asked."""

    def __init__(self) -> None:
        self.keys: Any = [jwk("one")]
        self.status = 200
        self.asked = 0
        self.seconds: float = 60
        """How long the tokens are valid that it gives at `token_url`."""
        self.sub = "ada"
        """Of whom they are."""
        self.url = ""
        self.token_url = ""

    def wait_until_asked(self, times: int) -> None:
        """Wait until it was asked so often. Raise TimeoutError."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.asked < times:
            if time.monotonic() > deadline:
                raise TimeoutError(f"It was asked {self.asked} times, not {times}.")
            time.sleep(0.01)


@contextmanager
def provider() -> Iterator[Provider]:
    """A provider that serves its keys within the block."""
    state = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/token":
                answer = {"token": token(sub=state.sub, seconds=state.seconds)}
            else:
                state.asked += 1
                answer = {"keys": state.keys}
            body = json.dumps(answer).encode()
            self.send_response(state.status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}/jwks.json"
        state.token_url = f"http://127.0.0.1:{server.server_port}/token"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
