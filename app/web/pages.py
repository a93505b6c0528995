"""Serve what `frontend/` is built into: the live board, and the playground."""

import logging
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

log = logging.getLogger(__name__)

STRICT = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
# Monaco, the playground's editor, inserts style elements and places its lines by style attributes;
# its icons and fonts are data: URLs. Scripts stay as strict as on the board.
MONACO = f"{STRICT}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:"


def security_headers(policy: str = STRICT) -> dict[str, str]:
    return {
        "Content-Security-Policy": policy,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }


@dataclass(frozen=True)
class Page:
    """A page of `frontend/`, and the setting that turns it on."""

    setting: str
    url: str
    policy: str = STRICT

    @property
    def name(self) -> str:
        return self.setting.lower()

    @property
    def path(self) -> Path:
        return Path(settings.PAGES_DIR, f"{self.name}.html")

    @property
    def is_on(self) -> bool:
        return bool(getattr(settings, self.setting))

    def response(self) -> Response:
        """The page, told which pages are on, or 503 and what to do where it is not built."""
        try:
            html = self.path.read_text("utf-8")
        except FileNotFoundError:
            return PlainTextResponse(f"{missing([self])}\n", 503, security_headers())
        names = " ".join(page.name for page in PAGES if page.is_on)
        return HTMLResponse(
            html.replace("<html", f'<html data-pages="{names}"', 1),
            headers=security_headers(self.policy) | {"Cache-Control": "no-cache", "Vary": "Accept"},
        )


BOARD = Page("BOARD", "/")
PLAYGROUND = Page("PLAYGROUND", "/graphql/", MONACO)
PAGES = [BOARD, PLAYGROUND]


class Assets(StaticFiles):
    """The built scripts, styles and fonts. A hash in each name lets browsers keep them for ever.

    The build has compressed each into a file beside it, so that no request has to.
    """

    async def check_config(self) -> None:
        """Allow that nothing has been built: then nothing is found."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if (
            "gzip" in Headers(scope=scope).get("accept-encoding", "")
            and self.lookup_path(f"{path}.gz")[1]
        ):
            response = await super().get_response(f"{path}.gz", scope)
            response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
        response.headers.update(security_headers())
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def routes() -> list[BaseRoute]:
    """The icon, the board and the files of both pages, as far as settings turn them on."""
    pages = [page for page in PAGES if page.is_on]
    if unbuilt := [page for page in pages if not page.path.exists()]:
        log.warning(missing(unbuilt))
    assets = Assets(directory=Path(settings.PAGES_DIR, "assets"), check_dir=False)
    served: list[BaseRoute] = [Mount("/assets", assets)] if pages else []
    if settings.ICON.exists():
        served.append(Route("/favicon.ico", icon))
    return [Route(BOARD.url, board), *served] if BOARD.is_on else served


async def icon(_: Request) -> Response:
    """The icon of pages that name none, as Django's do not."""
    headers = security_headers() | {"Cache-Control": "public, max-age=86400"}
    return FileResponse(settings.ICON, headers=headers)


async def board(_: Request) -> Response:
    return BOARD.response()


def playground(_: Request) -> Response | None:
    """What a browser that opens the endpoint gets; None where that is the protocol's to answer."""
    return PLAYGROUND.response() if PLAYGROUND.is_on else None


def missing(pages: list[Page]) -> str:
    names = " and ".join(f"the {page.name} at {page.url}" for page in pages)
    return f"Not built: {names}. `make pages` builds frontend/ into {pages[0].path.parent}."
