"""What resolvers and sources find in `info.context`."""

from dataclasses import dataclass
from typing import TypeAlias

from graphql import GraphQLResolveInfo

from ..changes.feed import Feed
from ..viewer import Viewer


@dataclass(frozen=True, slots=True)
class Context:
    """The viewer and the change feed.

    No request is here on purpose: an execution is shared by equal viewers, so it must not
    depend on anything else of the connection.
    """

    viewer: Viewer
    feed: Feed


Info: TypeAlias = GraphQLResolveInfo[Context]
