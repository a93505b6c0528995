"""The orders app."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """The example domain: docs/own-domain.md tells how to replace it."""

    name = "orders"
