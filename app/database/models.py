"""The model base whose `a…` methods go through `run`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

from django.db import models

from app.database.threads import run

M_co = TypeVar("M_co", bound=models.Model, covariant=True)


def awaited(name: str, method: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """`method` as the coroutine function `name` that runs it through `run`."""

    @wraps(method)
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await run(method, *args, **kwargs)

    call.__name__ = name
    return call


class QuerySet(models.QuerySet[M_co]):
    """Django's queryset; its `a…` methods and `async for` do not share one thread."""

    def __aiter__(self) -> AsyncIterator[M_co]:
        async def fetch() -> AsyncIterator[M_co]:
            for row in await run(list, self):
                yield row

        return fetch()


_QUERYSET = (
    "aget acreate abulk_create abulk_update aget_or_create aupdate_or_create acount aaggregate "
    "aexists acontains afirst alast aearliest alatest ain_bulk adelete aupdate aexplain"
)
for _name in _QUERYSET.split():
    setattr(QuerySet, _name, awaited(_name, getattr(models.QuerySet, _name[1:])))

Manager = models.Manager.from_queryset(QuerySet)


class Model(models.Model):
    """A model whose `asave`, `adelete` and `arefresh_from_db` go through `run`."""

    objects = Manager()

    class Meta:
        abstract = True


for _name in ("asave", "adelete", "arefresh_from_db"):
    setattr(Model, _name, awaited(_name, getattr(models.Model, _name[1:])))
