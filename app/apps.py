"""Make every `migrate` install what the change feed needs in the database."""

from django.apps import AppConfig
from django.core import checks
from django.db.models.signals import post_migrate

from .changes import live_models, triggers


class LiveConfig(AppConfig):
    """Turns the models named in `LIVE_MODELS` into tables that announce their changes."""

    name = __package__
    label = "live"
    verbose_name = "Live GraphQL"

    def ready(self) -> None:
        """Register the system checks, and the triggers that each `migrate` installs."""
        checks.register(live_models.check_live_models, checks.Tags.models)
        checks.register(triggers.check_triggers, checks.Tags.database)
        post_migrate.connect(triggers.synchronize, dispatch_uid=triggers.__name__)
