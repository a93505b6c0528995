"""Orders in Django's admin."""

from django.contrib import admin

from benchmarks.adoption.shop.models import Order

admin.site.register(Order)
