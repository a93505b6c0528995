"""What the example domain keeps in the database, and who may see it."""

from django.conf import settings
from django.db import models
from django.utils import timezone


class Order(models.Model):
    """Something a user has ordered."""

    class State(models.TextChoices):
        PAID = "PAID"
        UNPAID = "UNPAID"

    date = models.DateField(default=timezone.localdate)
    state = models.CharField(max_length=6, choices=State, default=State.UNPAID)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)

    class Meta:
        ordering = ["id"]  # so that last() is the newest

    def __str__(self) -> str:
        return f"Order {self.pk}"
