"""Connections of nobody in particular, for tests of what does not depend on who it is."""

from starlette.datastructures import Headers
from starlette.types import Receive, Send

from app.graphql.budgets import Budgets, consumer_of
from app.graphql.limits import Limits
from app.transports.connection import Connection
from app.viewer import Credentials, Session, Viewer


def connection_of(receive: Receive, send: Send, session: Session | None = None) -> Connection:
    """Return a connection; by default, of somebody who is not signed in."""
    session = session or Session(Viewer())
    account = Budgets(Limits.from_settings()).account(consumer_of(session, "127.0.0.1"))
    return Connection(receive, send, credentials_of(session), session, account)


def credentials_of(session: Session) -> Credentials:
    """Return the credentials by which Django's session comes."""
    headers = Headers({"cookie": f"sessionid={session.key}"} if session.key else {})
    return Credentials(headers, "127.0.0.1")
