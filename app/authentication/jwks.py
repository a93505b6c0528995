"""The public keys of an identity provider: fetched, kept, and fetched again as they change."""

import asyncio
import json
import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any, Final, Self
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, build_opener

from django.core.exceptions import ImproperlyConfigured
from jwt import PyJWK, PyJWTError

from ..viewer import UnknownViewerError

logger = logging.getLogger(__name__)

REFETCH_SECONDS = 10.0
"""Keys are fetched once in this time at most, whatever clients send."""
MAX_AGE_SECONDS = 600.0
"""Keys that are older are fetched again, so that withdrawn ones are not believed for ever."""
TIMEOUT_SECONDS = 5.0
MAX_BYTES = 256 * 1024

KINDS: Final = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES256K", "ES384", "ES512"), "EC"),
    "EdDSA": "OKP",
}
"""The type of key that an asymmetric algorithm needs (RFC 7518, section 6.1)."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, and what it is for."""

    id: str | None
    kind: str
    algorithm: str | None
    """The one that it is meant for; None if its provider does not say."""
    value: Any
    """As `cryptography` has it."""

    def fits(self, id_: str | None, algorithm: str) -> bool:
        """Whether it may have signed what names this id, if any, and this algorithm."""
        return (
            id_ in (None, self.id)
            and self.kind == KINDS[algorithm]
            and self.algorithm in (None, algorithm)
        )


class KeySet:
    """The keys that a provider has published (JWKS, RFC 7517).

    An asynchronous context manager: on entering it, keys begin to be fetched; on leaving it, that
    is given up. Raises ImproperlyConfigured for a URL that is not of https, unless it is of this
    host.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        is_local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_local):
            raise ImproperlyConfigured(
                f"Keys must come by https, or anybody on the way may replace them, not from {url}."
            )
        self._url = url
        self._keys: list[Key] = []
        self._published: Any = None
        self.version = 0
        """Grows when the keys have changed."""
        self._fetched_at = -inf
        self._may_fetch_at = -inf
        self._is_failing = False
        self._task: asyncio.Task[None] | None = None

    async def find(self, id_: str | None, algorithm: str) -> Key | None:
        """Return the key, fetched anew if it is unknown; None if there is none, or no single one.

        Raise UnknownViewerError while there are no keys at all.
        """
        key = self._find(id_, algorithm)
        if key is None and (task := self._fetching()) is not None:
            await asyncio.wait([task])
            key = self._find(id_, algorithm)
        if not self._keys:
            raise UnknownViewerError("Tokens cannot be checked at the moment. Try again later.")
        return key

    def renew(self) -> None:
        """Begin to fetch the keys again if they are old; until they come, the old ones count."""
        if self._keys and monotonic() - self._fetched_at > MAX_AGE_SECONDS:
            self._fetching()

    async def __aenter__(self) -> Self:
        self._fetching()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _find(self, id_: str | None, algorithm: str) -> Key | None:
        found = [key for key in self._keys if key.fits(id_, algorithm)]
        return found[0] if len(found) == 1 else None

    def _fetching(self) -> asyncio.Task[None] | None:
        """The fetch that is under way, or begins; None if the last one began a moment ago."""
        if self._task is None and monotonic() >= self._may_fetch_at:
            self._may_fetch_at = monotonic() + REFETCH_SECONDS
            self._task = asyncio.get_running_loop().create_task(self._fetch())
        return self._task

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(2 * TIMEOUT_SECONDS):
                published = await asyncio.to_thread(_download, self._url)
            keys = list(_keys_in(published))
        except (OSError, ValueError, RecursionError) as error:
            self._fail(str(error) or "no answer in time")
        else:
            self._keep(keys, published)
        finally:
            self._task = None

    def _keep(self, keys: Collection[Key], published: Any) -> None:
        if not keys:
            self._fail("there is no public key for signatures")
            return
        self._fetched_at = monotonic()
        if published != self._published:
            self._keys, self._published = list(keys), published
            self.version += 1
        if self._is_failing:
            self._is_failing = False
            logger.info("Keys come from %s again.", self._url)

    def _fail(self, reason: str) -> None:
        if not self._is_failing:
            self._is_failing = True
            state = "the old ones count" if self._keys else "no token can be checked"
            logger.error("Keys do not come from %s, so %s: %s", self._url, state, reason)


class _NoRedirects(HTTPRedirectHandler):
    """Lets a redirect be an error: it could lead away from https."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none."""


_opener = build_opener(_NoRedirects)


def _download(url: str) -> Any:
    """Return decoded JSON. Raise OSError and ValueError."""
    with _opener.open(url, timeout=TIMEOUT_SECONDS) as answer:
        body = answer.read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes came")
    return json.loads(body)


def _keys_in(published: Any) -> Iterator[Key]:
    """The keys for signatures of kinds that are known. Raise ValueError for what is no JWKS."""
    found = published.get("keys") if isinstance(published, dict) else None
    if not isinstance(found, list):
        raise ValueError('an object with a list of "keys" was expected')  # noqa: TRY004
    for each in found:
        if (
            isinstance(each, dict)
            and each.get("kty") in KINDS.values()  # A symmetric one would be no secret here.
            and each.get("use", "sig") == "sig"
        ):
            try:
                value = PyJWK(each).key
            except (PyJWTError, ValueError, TypeError):
                continue  # of a curve, say, that is not known
            yield Key(each.get("kid"), each["kty"], each.get("alg"), value)
