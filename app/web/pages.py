"""Serve the built pages of a front end."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

logger = logging.getLogger(__name__)

STRICT: Final = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
# Monaco, the playground's editor, inserts style elements and places its lines by style attributes;
# its icons and fonts are data: URLs. Scripts stay as strict as on other pages.
MONACO: Final = (
    f"{STRICT}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:"
)


def leading_to(address: str) -> str:
    """Return the policy of a page whose form leads to an address, which may be of another origin.

    Browsers hold `form-action` against where the answer redirects, too.
    """
    parts = urlsplit(address)
    origin = f" {parts.scheme}://{parts.netloc}" if parts.netloc else ""
    return STRICT.replace("form-action 'self'", f"form-action 'self'{origin}")


def security_headers(policy: str = STRICT) -> dict[str, str]:
    """Return what keeps a page to this site, with the Content-Security-Policy `policy`."""
    return {
        "Content-Security-Policy": policy,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }


@dataclass(frozen=True, slots=True)
class Page:
    """`NAME.html` in the folder of built pages, served at `url`."""

    name: str
    url: str
    policy: str = STRICT
    is_negotiated: bool = False
    """Whether the GraphQL endpoint serves it, to browsers that open its address."""


PLAYGROUND: Final = Page("playground", "/graphql/", MONACO, is_negotiated=True)


class Pages:
    """Some pages of a front end, built into `folder`, with their assets and their icon."""

    def __init__(self, folder: Path, icon: Path, pages: Sequence[Page]) -> None:
        self._folder = folder
        self._icon = icon
        self._pages = pages
        if missing := [page for page in pages if not self._path(page).exists()]:
            logger.warning(self._not_built(missing))

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the pages, their assets and the icon."""
        routes: list[BaseRoute] = [
            Route(page.url, partial(self._serve, page))
            for page in self._pages
            if not page.is_negotiated
        ]
        if self._pages:
            assets = Assets(directory=self._folder / "assets", check_dir=False)
            routes.append(Mount("/assets", assets))
        if self._icon.exists():
            routes.append(Route("/favicon.ico", self._serve_icon))
        return routes

    def playground(self, _: Request) -> Response | None:
        """Return what a browser gets that opens the endpoint; None if the playground is off."""
        return self._response(PLAYGROUND) if PLAYGROUND in self._pages else None

    async def _serve(self, page: Page, _: Request) -> Response:
        return self._response(page)

    def _response(self, page: Page) -> Response:
        try:
            html = self._path(page).read_text("utf-8")
        except FileNotFoundError:
            return PlainTextResponse(f"{self._not_built([page])}\n", 503, security_headers())
        names = " ".join(each.name for each in self._pages)  # for the links between them
        return HTMLResponse(
            html.replace("<html", f'<html data-pages="{names}"', 1),
            headers=security_headers(page.policy) | {"Cache-Control": "no-cache", "Vary": "Accept"},
        )

    async def _serve_icon(self, _: Request) -> Response:
        # Browsers ask for it on pages that name none, as Django's do not.
        return FileResponse(self._icon, headers={"Cache-Control": "public, max-age=86400"})

    def _path(self, page: Page) -> Path:
        return self._folder / f"{page.name}.html"

    def _not_built(self, pages: list[Page]) -> str:
        names = " and ".join(f"the {page.name} at {page.url}" for page in pages)
        return f"Not built: {names}. `make pages` builds frontend/ into {self._folder}."


class Assets(StaticFiles):
    """The built scripts, styles and fonts. A hash in each name lets browsers keep them for ever.

    The build has compressed each into a file beside it, so that no request has to.
    """

    async def check_config(self) -> None:
        """Allow that nothing has been built: then nothing is found."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file, compressed if the client accepts that."""
        response = await super().get_response(path, scope)
        if (
            "gzip" in Headers(scope=scope).get("accept-encoding", "")
            and self.lookup_path(f"{path}.gz")[1]
        ):
            response = await super().get_response(f"{path}.gz", scope)
            response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response
