"""Make every `migrate` install what the change feed needs in the database."""

from django.apps import AppConfig
from django.core import checks
from django.db.models.signals import post_migrate

from app.changes import models, triggers


class ChangesConfig(AppConfig):
    """Turns the models named in `LIVE_MODELS` into tables that announce their changes."""

    name = "app.changes"
    verbose_name = "Change feed"

    def ready(self) -> None:
        checks.register(models.check_live_models, checks.Tags.models)
        post_migrate.connect(triggers.synchronize, dispatch_uid="app.changes.triggers")
