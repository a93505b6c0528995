"""Say at the start what the server's command line lacks."""

import logging
from typing import Any

from django.conf import settings
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config

from .protocol import LimitedHTTP

logger = logging.getLogger(__name__)


def limiting_options() -> dict[str, Any]:
    """The options of uvicorn, by their names in Python, that limit what clients can take up."""
    return {
        "http": LimitedHTTP,
        "ws_per_message_deflate": False,
        "ws_max_size": settings.GRAPHQL_MAX_MESSAGE_BYTES,
    }


class OptionsCheck:
    """Warns, when the application starts, of options that uvicorn was started without."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve."""
        if scope["type"] == "lifespan":
            # ASGI has no word for it. Servers other than uvicorn have no such attribute.
            config = getattr(getattr(receive, "__self__", None), "config", None)
            if isinstance(config, Config) and (options := missing_options(config)):
                logger.warning(
                    "Clients can take up more than they should, unless a proxy prevents it. "
                    "Start uvicorn with %s",
                    " ".join(options),
                )
        await self._app(scope, receive, send)


def missing_options(config: Config) -> list[str]:
    """The options that limit clients, as far as uvicorn was started without them."""
    options = []
    if not issubclass(config.http_protocol_class, LimitedHTTP):
        # Silent connections stay for ever, and headers may have any size.
        options.append(f"--http {LimitedHTTP.__module__}:{LimitedHTTP.__name__}")
    if config.ws_protocol_class is not None:
        if config.ws_per_message_deflate:  # 15 KB become a message of 16 MB
            options.append("--ws-per-message-deflate false")
        if config.ws_max_size > settings.GRAPHQL_MAX_MESSAGE_BYTES:
            options.append(f"--ws-max-size {settings.GRAPHQL_MAX_MESSAGE_BYTES}")
    return options
