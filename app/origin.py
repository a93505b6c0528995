"""Whether a page may use the viewer's cookies here.

Browsers send cookies along with WebSocket handshakes from any page, and CORS does not cover
them, so the server itself must look where the page came from.
"""

from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from starlette.datastructures import Headers


def is_host_allowed(headers: Headers) -> bool:
    """Whether the `Host` header names one of ALLOWED_HOSTS, as Django checks it."""
    domain, _port = split_domain_port(headers.get("host", ""))
    allowed = settings.ALLOWED_HOSTS or (
        [".localhost", "127.0.0.1", "[::1]"] if settings.DEBUG else []
    )
    return bool(domain) and validate_host(domain, allowed)


def is_origin_allowed(headers: Headers) -> bool:
    """Whether the request comes from our own pages, an allowed origin, or no page at all."""
    if not is_host_allowed(headers):
        return False
    origin = headers.get("origin")
    if origin is None or origin in settings.GRAPHQL_ALLOWED_ORIGINS:
        return True
    try:
        url = urlsplit(origin)
    except ValueError:  # no URL at all
        return False
    # Anybody between here and the browser can send a page of ours that came unencrypted.
    is_safe = url.scheme == "https" or not settings.SECURE_SSL_REDIRECT
    return url.netloc == headers["host"] and is_safe
