"""Serve static files straight from where Django finds them, with DEBUG on or off."""

import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.exceptions import SuspiciousFileOperation
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles


def routes() -> list[Mount]:
    """What is below STATIC_URL; nothing if that is on another host."""
    url = settings.STATIC_URL
    if not (url and url.startswith("/")):
        return []
    return [Mount(url.rstrip("/"), ExceptionMiddleware(DjangoStaticFiles()))]


class DjangoStaticFiles(StaticFiles):
    """Starlette's static files, looked up by Django's finders: no `collectstatic` is needed.

    Names carry no hash, so browsers may keep a file for an hour, and ask again by its ETag.
    """

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """The file for a path below STATIC_URL; `("", None)` if there is none."""
        try:
            found: Any = finders.find(path)
        except SuspiciousFileOperation:  # a path that leads out of the folder
            found = None
        return (found, Path(found).stat()) if found else ("", None)

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """The file, or 304; both with what they mean for caches."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "public, max-age=3600"
        return response
