"""The orders app."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """The example domain: replace it by your own."""

    name = "orders"
