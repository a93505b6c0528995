"""Somebody who has an item, beside somebody else who has one, too."""

from django.contrib.auth.models import User

from tests.items.models import Item


def create_owners(password: str = "") -> User:
    """Create "ada" and "bob", each with an item. Return ada, who has the encoded `password`."""
    ada = User.objects.create(username="ada", password=password)
    Item.objects.create(owner=ada)
    Item.objects.create(owner=User.objects.create(username="bob"))
    return ada
