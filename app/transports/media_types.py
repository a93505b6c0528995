"""Choose the media type of an answer by the request's `Accept` header."""

import re

from django.http import HttpRequest

JSON = "application/json"
GRAPHQL_JSON = "application/graphql-response+json"
EVENT_STREAM = "text/event-stream"
HTML = "text/html"
MAX_ACCEPT_CHARACTERS = 1000
OTHER_PARAMETER = re.compile(r";(?!\s*q\s*=)[^;,]*", re.IGNORECASE)


def preferred_media_type(accept: str, offered: list[str]) -> str | None:
    """Return the one of `offered` that the header prefers; None if it accepts none of them.

    RFC 9110, section 12.5.1. Raise ValueError for a header of more than `MAX_ACCEPT_CHARACTERS`,
    since reading it takes time that grows with the square of its length.
    """
    if len(accept) > MAX_ACCEPT_CHARACTERS:
        raise ValueError(f"The Accept header may have {MAX_ACCEPT_CHARACTERS} characters.")
    # Django reads ranges and weights, but takes other parameters, which clients like to add, for
    # part of the type.
    request = HttpRequest()
    request.META["HTTP_ACCEPT"] = OTHER_PARAMETER.sub("", accept or "*/*")
    return request.get_preferred_type(offered)
