"""Items in Django's admin."""

from django.contrib import admin

from tests.items.models import Item

admin.site.register(Item)
