"""Limit how often somebody may try to sign in; `django-axes` keeps count in the database.

Its settings `AXES_…` name what is here.
"""

import logging
from math import ceil
from typing import Any

from asgiref.sync import sync_to_async
from axes.backends import AxesStandaloneBackend
from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import OperationalError, router, transaction
from django.http import HttpRequest, HttpResponse

from ..addresses import network_of
from .refusals import refused

logger = logging.getLogger(__name__)

MAX_NAME_LENGTH = 255

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Too many tries</title>
<h1>Too many tries</h1>
<p>Signing in has failed too often. Try again in {minutes:g} minutes; trying before does not make it
longer.</p>
</html>
"""


class Guard(AxesStandaloneBackend):  # type: ignore[misc]
    """An authentication backend that comes first, and refuses before a password is hashed.

    It must not have `get_user`, or Django would keep sessions by it.
    """

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:
        """Raise PermissionDenied if too many tries have failed. Code without a request may try."""
        if request is None:
            return
        super().authenticate(request, **credentials)
        Failures().count(request, {"username": credentials.get("username")})

    async def aauthenticate(self, request: HttpRequest | None, **credentials: Any) -> None:
        """Do the same, awaited."""
        await sync_to_async(self.authenticate)(request, **credentials)


class Failures(AxesDatabaseHandler):  # type: ignore[misc]
    """Counts the failures of a user name from an address, and all of an address.

    No count is of a name alone, or anybody could keep its owner from signing in. A try counts from
    its beginning, or many at once would all find that none has failed yet; success takes it back.
    """

    def count(self, request: Any, credentials: dict[str, Any]) -> None:
        """Count a try. Raise PermissionDenied if others at the same time were the last allowed."""
        try:
            with transaction.atomic(using=router.db_for_write(AccessAttempt)):
                super().user_login_failed(__name__, credentials, request)
        except OperationalError as error:
            # SQLite lets one at a time write, and all others wait for some seconds only.
            logger.warning("A try to sign in was refused, since it could not be counted: %s", error)
            request.axes_locked_out = True
            raise PermissionDenied from None
        request.axes_locked_out = request.axes_failures_since_start > settings.SIGN_IN_FAILURES
        if request.axes_locked_out:
            raise PermissionDenied

    def get_failures(self, request: HttpRequest, credentials: Any = None) -> int:
        """Return the failures of the name, or of the address less those it may have more."""
        of_name, of_address = (
            int(sum(attempts.values_list("failures_since_start", flat=True)))
            for attempts in self.get_user_attempts(request, credentials)
        )
        more: int = settings.SIGN_IN_ADDRESS_FAILURES - settings.SIGN_IN_FAILURES
        return max(of_name, of_address - more)

    def reset_user_attempts(self, request: HttpRequest, credentials: Any = None) -> int:
        """Forget the failures of who has signed in.

        Those of other names stay, or one's own account would buy guesses at all others.
        """
        of_name, _of_address = self.filter_user_attempts(request, credentials)
        count: int = of_name.delete()[0]
        return count

    def user_login_failed(
        self, _sender: Any, credentials: Any, request: Any = None, **_: Any
    ) -> None:
        """Refuse, and log it, if the try that has failed was the last that is allowed."""
        if request is None or request.axes_locked_out:
            return
        if request.axes_failures_since_start == settings.SIGN_IN_FAILURES:
            request.axes_locked_out = True
            logger.warning(
                "Too many tries to sign in: %s has to wait, at least as %r, for %g minutes.",
                request.axes_ip_address,
                name_of(request, credentials),
                settings.SIGN_IN_COOLOFF_MINUTES,
            )


def name_of(_: HttpRequest, credentials: dict[str, Any] | None) -> str:
    """The user name that was given, as far as the table's column can hold it."""
    return str((credentials or {}).get("username") or "")[:MAX_NAME_LENGTH]


def address_of(request: HttpRequest) -> str | None:
    """The address that uvicorn tells: the client's, or what a trusted proxy says it is."""
    return network_of(request.META.get("REMOTE_ADDR", ""))


def refuse(*_: Any) -> HttpResponse:
    """Return the page for who has to wait."""
    refused["SIGN_IN"] += 1
    minutes = settings.SIGN_IN_COOLOFF_MINUTES
    headers = {"Retry-After": str(ceil(minutes * 60))}
    return HttpResponse(PAGE.format(minutes=minutes), status=429, headers=headers)
