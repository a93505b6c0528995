"""What the shop keeps."""

from typing import ClassVar, Self

from django.conf import settings
from django.db import models


class Order(models.Model):
    """What a customer has ordered."""

    class State(models.TextChoices):
        OPEN = "OPEN"
        PAID = "PAID"
        SENT = "SENT"

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    item = models.CharField(max_length=100)
    state = models.CharField(max_length=4, choices=State, default=State.OPEN)
    note = models.TextField(blank=True, help_text="Of staff, for staff.")

    objects: ClassVar[models.Manager[Self]] = models.Manager()

    def __str__(self) -> str:
        return self.item
