"""Ask the project's function who a client is, whatever it does."""

import logging
from typing import Any

from django.db import Error as DatabaseError

from ..database.fairness import CONSUMER, SYSTEM
from ..exceptions import first_line
from ..viewer import (
    Authenticate,
    Credentials,
    InvalidCredentialError,
    Session,
    UnknownViewerError,
)

logger = logging.getLogger(__name__)


class Authentication:
    """Who clients are, by the function `authenticate`."""

    def __init__(self, authenticate: Authenticate) -> None:
        self._authenticate = authenticate

    async def session(self, credentials: Credentials) -> Session:
        """Return who shows these credentials, by connections of the server's own share.

        Raise InvalidCredentialError and UnknownViewerError.
        """
        token = CONSUMER.set(SYSTEM)
        try:
            return _checked(await self._authenticate(credentials))
        except (InvalidCredentialError, UnknownViewerError):
            raise
        except DatabaseError as error:
            logger.error("A viewer could not be loaded: %s", first_line(error))  # noqa: TRY400
            raise UnknownViewerError(
                "The database does not answer at the moment. Try again later."
            ) from None
        except Exception as error:
            logger.exception("The function that says who asks has failed")
            raise UnknownViewerError("It cannot be found out who you are.") from error
        finally:
            CONSUMER.reset(token)


def _checked(session: Any) -> Session:
    """The session. Raise TypeError if it is none, or its viewer cannot be told from others."""
    if not isinstance(session, Session):
        raise TypeError(f"It must return a Session, but {session!r} came.")
    try:
        hash((session.viewer, session.user))
    except TypeError:
        raise TypeError(
            "The viewer and the user of a Session must be hashable, as frozen dataclasses are, but "
            f"{session!r} came."
        ) from None
    return session
