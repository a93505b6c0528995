"""Django's ORM, awaited: a package that knows nothing of the project around it.

The setting `ENGINE` of a database names it; `docs/async-orm.md` explains it.
"""

from typing import TYPE_CHECKING

from .lazy import lazily

if TYPE_CHECKING:
    from .calls import call as call
    from .calls import run as run
    from .lifespan import opened as opened
    from .lifespan import statistics as statistics
    from .models import Manager as Manager
    from .models import Model as Model
    from .models import QuerySet as QuerySet
    from .models import aprefetch_related_objects as aprefetch_related_objects
    from .models import install as install
    from .transaction import atomic as atomic

NAMES = {
    "calls": ("call", "run"),
    "lifespan": ("opened", "statistics"),
    "models": ("Manager", "Model", "QuerySet", "aprefetch_related_objects", "install"),
    "transaction": ("atomic",),
}
__getattr__ = lazily(__name__, NAMES)
