"""What resolvers and sources find in `info.context`."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from graphql import GraphQLResolveInfo

from ..changes.feed import Feed
from ..viewer import Viewer

V = TypeVar("V", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Context(Generic[V]):
    """The viewer and the change feed.

    No request is here on purpose: an execution is shared by equal viewers, so it must not
    depend on anything else of the connection.
    """

    viewer: V
    """By default a `Viewer`; what the project's own `authenticate` has returned, if it has one."""
    feed: Feed


Info: TypeAlias = GraphQLResolveInfo[Context[Viewer]]
