"""The viewers of an identity provider's access tokens. It needs PyJWT: the extra `jwt`."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, replace
from hashlib import sha256
from inspect import isawaitable
from time import time
from types import MappingProxyType
from typing import Any, Final, Self, TypeAlias

import jwt
from django.core.exceptions import ImproperlyConfigured

from ..viewer import (
    Authenticate,
    Credentials,
    InvalidCredentialError,
    Session,
    anonymous_session,
)
from .jwks import KINDS, KeySet

MAX_TOKEN_CHARACTERS: Final = 16 * 1024
MAX_VERIFIED: Final = 4096

Claims: TypeAlias = Mapping[str, Any]
"""What a verified token says; `exp`, `iss` and `aud` are there."""

REASONS: Final[tuple[tuple[type[jwt.PyJWTError], str], ...]] = (
    (jwt.ExpiredSignatureError, "The token has expired. Get a new one."),
    (jwt.ImmatureSignatureError, "The token is not valid yet."),
    (jwt.InvalidAudienceError, "The token is for another service."),
    (jwt.InvalidIssuerError, "The token is by another issuer."),
    (jwt.MissingRequiredClaimError, "The token lacks one of the claims exp, iss and aud."),
)


class JWTSessions:
    """Says who asks by a signed JSON Web Token (RFC 7519) that comes as a bearer token.

    `jwks_url` is where its provider publishes the keys, by https. `issuer` and `audience` are what
    its claims `iss` and `aud` must say, or one of what they may. `session` makes a Session of the
    claims, and may raise InvalidCredentialError: for a user that is not known here, say. It is
    called each time, and may be asynchronous. The session ends with `exp`, whatever it says.
    `otherwise` says who asks without a token: by default nobody; `DjangoSessions()`, say, lets
    pages sign in by cookie. `leeway_seconds` is how far the provider's clock may be ahead.

    An asynchronous context manager. Raises ImproperlyConfigured for what would not be safe.
    """

    def __init__(
        self,
        *,
        jwks_url: str,
        issuer: str | Collection[str],
        audience: str | Collection[str],
        session: Callable[[Claims], Session | Awaitable[Session]],
        otherwise: Authenticate | None = None,
        algorithms: Collection[str] = ("RS256", "PS256", "ES256", "EdDSA"),
        leeway_seconds: float = 10.0,
    ) -> None:
        if not issuer or not audience:
            raise ImproperlyConfigured(
                "Without issuer and audience, tokens that were made for others would count."
            )
        if isinstance(algorithms, str) or not algorithms or not set(algorithms) <= set(KINDS):
            raise ImproperlyConfigured(
                f"algorithms must be of {', '.join(KINDS)}, but {algorithms!r} came: with a key "
                "that is public, anybody could sign by the others."
            )
        self._keys = KeySet(jwks_url)
        self._issuers = [issuer] if isinstance(issuer, str) else list(issuer)
        self._audiences = [audience] if isinstance(audience, str) else list(audience)
        self._session = session
        self._otherwise = otherwise or _anonymous
        self._algorithms = frozenset(algorithms)
        self._leeway_seconds = leeway_seconds
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._stack = AsyncExitStack()

    async def __call__(self, credentials: Credentials) -> Session:
        """Return the session. Raise InvalidCredentialError and UnknownViewerError."""
        if not (token := credentials.token):
            return await self._otherwise(credentials)
        verified = await self._verify(token)
        found = self._session(verified.claims)
        session = await found if isawaitable(found) else found
        return replace(session, expires_at=min(session.expires_at, verified.expires_at))

    async def __aenter__(self) -> Self:
        for each in (self._keys, self._otherwise):
            if isinstance(each, AbstractAsyncContextManager):
                await self._stack.enter_async_context(each)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _verify(self, token: str) -> "_Verified":
        """Return what the token says, as verified before if it was, and by keys that still are."""
        self._keys.renew()
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        found = self._verified.get(digest)
        if found is None or found.version != self._keys.version:
            found = self._verified[digest] = await self._decode(token)
            if len(self._verified) > MAX_VERIFIED:
                self._verified.popitem(last=False)
        if found.expires_at <= time():
            self._verified.pop(digest, None)
            raise _invalid(jwt.ExpiredSignatureError())
        return found

    async def _decode(self, token: str) -> "_Verified":
        try:
            key_id, algorithm = self._header(token)
            key = await self._keys.find(key_id, algorithm)
            if key is None:
                raise jwt.InvalidKeyError
            claims = jwt.decode(
                token,
                key.value,
                algorithms=[algorithm],
                issuer=self._issuers,
                audience=self._audiences,
                leeway=self._leeway_seconds,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (jwt.PyJWTError, TypeError, ValueError, RecursionError) as error:
            raise _invalid(error) from None
        return _Verified(MappingProxyType(claims), float(claims["exp"]), self._keys.version)

    def _header(self, token: str) -> tuple[str | None, str]:
        """Return the key's id and the algorithm that a token names."""
        if len(token) > MAX_TOKEN_CHARACTERS or not token.isascii():
            raise jwt.DecodeError
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms or "crit" in header:
            raise jwt.InvalidAlgorithmError
        return header.get("kid"), algorithm


@dataclass(frozen=True, slots=True)
class _Verified:
    claims: Claims
    expires_at: float
    version: int
    """Of the keys that it was verified by."""


async def _anonymous(_: Credentials) -> Session:
    return anonymous_session()


def _invalid(error: Exception) -> InvalidCredentialError:
    """What a client is told (RFC 6750, section 3.1)."""
    message = next((text for kind, text in REASONS if isinstance(error, kind)), "")
    message = message or "The token is not valid."
    challenge = f'Bearer error="invalid_token", error_description="{message}"'
    return InvalidCredentialError(message, {"WWW-Authenticate": challenge})
