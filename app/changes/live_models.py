"""Which models are live: those of `LIVE_MODELS` and of `VIEWER_MODELS`."""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from django.apps import AppConfig, apps
from django.conf import settings
from django.db.models import Model

from ..authentication.tables import viewer_models

OWN = "*"
INSTALLED = {"site-packages", "dist-packages"}


def live_models() -> list[type[Model]]:
    """The models whose changes are announced.

    Raises LookupError or ValueError for a name that is no model, and no app.
    """
    return [*dict.fromkeys([*_named(tuple(settings.LIVE_MODELS)), *viewer_models()])]


@lru_cache(maxsize=10)
def _named(names: tuple[str, ...]) -> list[type[Model]]:
    return [model for name in names for model in models_of(name)]


def models_of(name: str) -> Iterable[type[Model]]:
    """What one name in `LIVE_MODELS` stands for. Raises LookupError and ValueError."""
    if name == OWN:
        return [m for config in apps.get_app_configs() if is_own(config) for m in _all(config)]
    return [apps.get_model(name)] if "." in name else _all(apps.get_app_config(name))


def _all(config: AppConfig) -> list[type[Model]]:
    models = config.get_models(include_auto_created=True)
    return [m for m in models if m._meta.managed and not m._meta.proxy]


def is_own(config: AppConfig) -> bool:
    """Whether an app is of the project itself, not from a package that was installed."""
    # What Django brings is not, wherever Django is.
    return not config.name.startswith("django.") and INSTALLED.isdisjoint(Path(config.path).parts)
