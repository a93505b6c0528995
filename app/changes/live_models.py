"""Which models are live: those that the setting `LIVE_MODELS` names."""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks
from django.db.models import Model


def live_models() -> list[type[Model]]:
    """The models of `LIVE_MODELS`, which lists them as `"app_label.ModelName"`.

    Raises LookupError or ValueError for a name that is no model.
    """
    return [apps.get_model(name) for name in settings.LIVE_MODELS]


def check_live_models(**_: Any) -> list[checks.CheckMessage]:
    """Django's system check that every name in `LIVE_MODELS` is a model."""
    errors: list[checks.CheckMessage] = []
    for name in settings.LIVE_MODELS:
        try:
            apps.get_model(name)
        except (LookupError, ValueError) as error:
            message = f"LIVE_MODELS names {name!r}, which is no model: {error}"
            hint = 'List models as "app_label.ModelName".'
            errors.append(checks.Error(message, hint=hint, id="live.E001"))
    return errors
