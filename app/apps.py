"""Complete the settings, check them, and make every `migrate` install what the feed needs."""

from types import ModuleType

from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import post_migrate

from .changes import triggers
from .checks import register
from .defaults import complete


class LiveConfig(AppConfig):
    """Turns the models named in `LIVE_MODELS` into tables that announce their changes."""

    name = __package__
    label = "live"
    verbose_name = "Live GraphQL"

    def __init__(self, app_name: str, app_module: ModuleType | None) -> None:
        super().__init__(app_name, app_module)
        complete(settings)  # before the models of any app are imported

    def ready(self) -> None:
        """Register the system checks, and the triggers that each `migrate` installs."""
        register()
        post_migrate.connect(triggers.synchronize, dispatch_uid=triggers.__name__)
