"""Where Django is told of the signals."""

from django.apps import AppConfig


class LiveConfig(AppConfig):
    """The app that makes orders live."""

    name = "benchmarks.adoption.strawberry"

    def ready(self) -> None:
        """Connect the signals."""
        from benchmarks.adoption.strawberry import signals  # noqa: F401
