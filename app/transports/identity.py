"""Who is at the other end of a WebSocket: what its handshake, `connection_init` and pings tell."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ..database.fairness import CONSUMER
from ..graphql.budgets import Budgets, consumer_of
from ..graphql.errors import TooManyConnectionsError
from ..viewer import TOKEN_NAMES, InvalidCredentialError, Session, UnknownViewerError
from .clients import Clients
from .connection import CHANGED, CloseError, Connection, is_same

STRANGER: Final = Session(None)
"""Somebody of whom nothing is known yet, and for whom nothing is done."""
TRY_AGAIN_LATER: Final = 1013


class Identity:
    """Finds out who sends a payload, and keeps its connection up to date.

    `refusal` is what was wrong with the credentials of the handshake. It counts unless better ones
    come with `connection_init`.
    """

    __slots__ = ("_budgets", "_clients", "_connection", "_refusal")

    def __init__(
        self,
        connection: Connection,
        clients: Clients,
        budgets: Budgets,
        refusal: InvalidCredentialError | None,
    ) -> None:
        self._connection = connection
        self._clients = clients
        self._budgets = budgets
        self._refusal = refusal

    async def begin(self, payload: Mapping[str, Any]) -> None:
        """Take the payload of `connection_init`. Raise CloseError unless the client may go on."""
        if payload or self._refusal is not None:
            self._refusal = None
            self._move(await self._identify(payload))

    async def renew(self, payload: Mapping[str, Any]) -> None:
        """Take the payload of a ping: a newer token, say. Raise CloseError if it is of another."""
        connection = self._connection
        session, before = connection.session, connection.credentials.payload
        new = _renewed(before, payload)
        if new != before and not is_same(session, await self._identify(new)):
            raise CloseError(CHANGED.code, CHANGED.reason)

    async def _identify(self, payload: Mapping[str, Any]) -> Session:
        connection = self._connection
        credentials = replace(connection.credentials, payload=payload)
        try:
            session = await self._clients.authentication.session(credentials)
        except InvalidCredentialError as error:
            raise CloseError(4403, f"Forbidden: {error}") from None
        except UnknownViewerError as error:
            raise CloseError(TRY_AGAIN_LATER, str(error)) from None
        self._clients.identify(connection, credentials, session)
        return session

    def _move(self, session: Session) -> None:
        """Count the connection as one of whom it has turned out to be of."""
        connection = self._connection
        account = self._budgets.account(consumer_of(session, connection.credentials.address))
        if account is connection.account:
            return
        try:
            account.check_connections()
        except TooManyConnectionsError as error:
            raise CloseError(TRY_AGAIN_LATER, str(error)) from None
        connection.account.connections -= 1
        account.connections += 1
        connection.account = account
        CONSUMER.set(account.consumer)


def _renewed(before: Mapping[str, Any], payload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what came before, with what is newer of it, names in any case; a token always is.

    If nothing came before, all counts. Nothing else does, so that what is kept does not grow.
    """
    known = {name.lower() for name in before} | TOKEN_NAMES
    newer = {k: v for k, v in payload.items() if not before or k.lower() in known}
    names = {name.lower() for name in newer}
    if names & TOKEN_NAMES:
        names |= TOKEN_NAMES
    return {**{k: v for k, v in before.items() if k.lower() not in names}, **newer}
