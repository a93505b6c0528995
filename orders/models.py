"""What the example domain keeps in the database, and who may see it."""

from typing import ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from app import Viewer
from app.database import Manager, Model, QuerySet


class OrderQuerySet(QuerySet["Order"]):
    """Orders, by who looks at them."""

    def visible_to(self, viewer: Viewer) -> Self:
        """The orders this viewer may see: the one place that decides it."""
        if viewer.is_unrestricted or (viewer.is_staff and viewer.may("orders.view_order")):
            return self.all()
        if viewer.user_id is None:
            return self.none()
        return self.filter(user_id=viewer.user_id)


class Order(Model):
    """Something a user has ordered."""

    class State(models.TextChoices):
        PAID = "PAID"
        UNPAID = "UNPAID"

    date = models.DateField(default=timezone.localdate)
    state = models.CharField(max_length=6, choices=State, default=State.UNPAID)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        db_index=False,  # the index by user and newest serves
    )

    objects: ClassVar[Manager[Self]] = OrderQuerySet.as_manager()

    class Meta:
        ordering = ["id"]  # so that last() is the newest
        indexes = [
            models.Index(fields=["user", "-id"], name="order_by_user_newest"),
            models.Index(fields=["state", "-id"], name="order_by_state_newest"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["PAID", "UNPAID"]), name="order_state_is_known"
            ),
        ]

    def __str__(self) -> str:
        return f"Order {self.pk}"

    def may_be_changed_by(self, viewer: Viewer, permission: str) -> bool:
        """Whether the order is the viewer's own, or Django's `permission` is."""
        return viewer.may(permission) or self.user_id == viewer.user_id
