"""What the shop keeps, in a model that knows nothing of GraphQL."""

from django.db import models


class Product(models.Model):
    """Something on sale."""

    name = models.CharField(max_length=50)
    price = models.IntegerField()

    def __str__(self) -> str:
        return self.name
