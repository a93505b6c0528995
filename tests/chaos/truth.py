"""What the database says: which result each viewer has to hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import Permission, User
from django.db.models import Q

from tests.chaos.plan import Asked
from tests.items.models import Item

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Truth:
    """All items, newest first, and who may see all of them."""

    items: tuple[Row, ...]
    see_all: frozenset[str]

    def result(self, viewer: str, asked: Asked) -> Any:
        """Return the `data` that this viewer has to hold of this subscription."""
        sees_all = viewer in self.see_all
        items = [i for i in self.items if sees_all or i["owner"]["username"] == viewer]
        if not asked.first:
            return {"item": _select(items[0], asked) if items else None}
        if asked.state:
            items = [item for item in items if item["state"] == asked.state]
        return {"items": [_select(item, asked) for item in items[: asked.first]]}


def read_truth() -> Truth:
    """Ask the database."""
    items = Item.objects.select_related("owner").prefetch_related("parts").order_by("-id")
    permission = Permission.objects.get(codename="view_item")
    has_it = Q(user_permissions=permission) | Q(groups__permissions=permission)
    seeing = User.objects.filter(has_it | Q(is_superuser=True), is_active=True).distinct()
    return Truth(
        tuple(
            {
                "id": str(item.pk),
                "name": item.name,
                "state": item.state,
                "owner": {"username": item.owner.username},
                "parts": [{"name": part.name} for part in item.parts.all()],
            }
            for item in items
        ),
        frozenset(seeing.values_list("username", flat=True)),
    )


def _select(item: Row, asked: Asked) -> Row:
    words = asked.selection.split()
    return {name: value for name, value in item.items() if name in words}
