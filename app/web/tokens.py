"""Sign in for a bearer token instead of a cookie: `path("token/", include("….web.tokens"))`.

The token is the key of a session of Django's, which `DjangoSessions` takes. POST with the JSON
object `{"username", "password"}` gives `{"token", "expires"}`; DELETE with `Authorization: Bearer
TOKEN` ends the session. All else is refused with `{"error"}`. Browsers may ask from pages of
GRAPHQL_ALLOWED_ORIGINS, too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Final, TypeAlias
from unicodedata import normalize

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import authenticate, get_user, get_user_model, login, logout
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from starlette.datastructures import Headers

from ..authentication.django_sessions import may_be_key
from ..authentication.sessions import session_engine
from ..exceptions import LiveError
from ..graphql.request import RequestError, decode
from ..viewer import CHALLENGE, Credentials, InvalidCredentialError
from .refusals import refused

MAX_BODY_BYTES: Final = 16 * 1024
ALLOW: Final = "POST, DELETE, OPTIONS"
PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": ALLOW,
    "Access-Control-Allow-Headers": "authorization, content-type",
    "Access-Control-Max-Age": "600",
}


class RefusedError(LiveError):
    """A request that is refused; the message is meant for the client."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


Check: TypeAlias = Callable[[HttpRequest, Any, Mapping[str, Any]], None]
"""Has the last word on who signs in: called with the request, the user, and the JSON object.

Its PermissionDenied refuses with 403; the message is meant for the client.
"""


def token_view(check: Check | None = None) -> Callable[..., Any]:
    """Return the view that gives tokens and ends them.

    Without `check`, whoever knows the password gets a token. Where signing in takes more, a second
    factor say, `check` must ask for it.
    """

    # No cookie is looked at, and none set, so there is nothing that a page of others could use.
    @csrf_exempt
    async def token(request: HttpRequest) -> HttpResponse:
        _forget_cookies(request)
        try:
            response = await _answer(request, check)
        except RefusedError as error:
            response = JsonResponse(
                {"error": str(error)}, status=error.status, headers=error.headers
            )
        response["Cache-Control"] = "no-store"
        response["Vary"] = "Origin"
        if (origin := request.headers.get("origin")) in settings.GRAPHQL_ALLOWED_ORIGINS:
            response["Access-Control-Allow-Origin"] = origin
            response["Access-Control-Expose-Headers"] = "Retry-After"
        return response

    return token


def _forget_cookies(request: HttpRequest) -> None:
    """Let the middleware around find none, which it might renew, replace or drop."""
    request.COOKIES.clear()
    request.META.pop("CSRF_COOKIE_NEEDS_UPDATE", None)
    if hasattr(request, "session"):
        request.session = session_engine()()


async def _answer(request: HttpRequest, check: Check | None) -> HttpResponse:
    match request.method:
        case "POST":
            # Passwords are hashed in the thread, too: Django's `aauthenticate` blocks the loop.
            return JsonResponse(await sync_to_async(_sign_in)(request, _read(request), check))
        case "DELETE":
            await sync_to_async(_sign_out)(request, _key(request))
            return HttpResponse(status=204)
        case "OPTIONS":
            return HttpResponse(status=204, headers={"Allow": ALLOW, **PREFLIGHT})
    raise RefusedError(405, "Use POST to sign in, or DELETE to sign out.", {"Allow": ALLOW})


@dataclass(frozen=True, slots=True)
class _Login:
    username: str
    password: str
    given: Mapping[str, Any]
    """All that was sent."""


class _OwnRequest(HttpRequest):
    """A request with a session of its own.

    So nothing that is done to it makes the middleware around the view set a cookie, and nothing
    that a cookie of the request says counts.
    """

    def __init__(self, outer: HttpRequest, key: str | None = None) -> None:
        super().__init__()
        self._outer = outer
        self.method = outer.method
        self.path, self.path_info = outer.path, outer.path_info
        self.META = {k: v for k, v in outer.META.items() if k not in ("HTTP_COOKIE", "CSRF_COOKIE")}
        self.session = session_engine()(key)

    def _get_scheme(self) -> str | None:
        return self._outer.scheme


def _sign_in(outer: HttpRequest, given: _Login, check: Check | None) -> dict[str, str]:
    request = _OwnRequest(outer)
    user = authenticate(request, username=given.username, password=given.password)
    if getattr(request, "axes_locked_out", False):
        refused["SIGN_IN"] += 1
        seconds = ceil(settings.SIGN_IN_COOLOFF_MINUTES * 60)
        message = f"Signing in has failed too often. Try again in {seconds} seconds."
        raise RefusedError(429, message, {"Retry-After": str(seconds)})
    if user is None:
        raise RefusedError(401, "The user name or the password is wrong.", CHALLENGE)
    if check is not None:
        try:
            check(request, user, given.given)
        except PermissionDenied as error:
            raise RefusedError(403, str(error) or "You may not sign in here.") from None
    login(request, user)
    request.session.save()
    expires = request.session.get_expiry_date()
    return {"token": str(request.session.session_key), "expires": expires.isoformat()}


def _sign_out(outer: HttpRequest, key: str) -> None:
    """End the session, if there is one: who asks twice gets the same."""
    request = _OwnRequest(outer, key)
    if request.session.exists(key):
        request.user = get_user(request)
        logout(request)


def _key(request: HttpRequest) -> str:
    headers = {"authorization": request.headers.get("authorization", "")}
    try:
        key = Credentials(Headers(headers), "").token
    except InvalidCredentialError as error:
        raise RefusedError(401, str(error), error.headers) from None
    if not key or not may_be_key(key):
        raise RefusedError(401, 'Send "Authorization: Bearer TOKEN".', CHALLENGE)
    return key


def _read(request: HttpRequest) -> _Login:
    """Return who signs in. Raise RefusedError for what is not as it must be."""
    if request.content_type != "application/json":
        # Forms, which a page of others could send, are refused here.
        came = request.content_type or "none"
        raise RefusedError(415, f"The content type must be application/json, but {came} came.")
    length = request.headers.get("content-length", "")
    is_long = length.isdecimal() and int(length) > MAX_BODY_BYTES
    if is_long or len(body := request.read(MAX_BODY_BYTES + 1)) > MAX_BODY_BYTES:
        raise RefusedError(413, f"The body may have {MAX_BODY_BYTES} bytes at most.")
    try:
        value = decode(body)
    except RequestError as error:
        raise RefusedError(400, str(error)) from None
    if not isinstance(value, dict):
        raise RefusedError(400, "A JSON object was expected.")
    name = value.get("username", value.get(get_user_model().USERNAME_FIELD))
    # As Django's form does, or names that look the same would not be.
    username = normalize("NFKC", _text("username", name)).strip()
    return _Login(username, _text("password", value.get("password")), value)


def _text(name: str, value: Any) -> str:
    """Return the text. Raise RefusedError unless databases and hashers take it."""
    is_text = isinstance(value, str) and value != "" and "\0" not in value
    if not is_text or any("\ud800" <= each <= "\udfff" for each in value):
        raise RefusedError(400, f'"{name}" must be text that is not empty.')
    return str(value)


urlpatterns = [path("", token_view(), name="token")]
