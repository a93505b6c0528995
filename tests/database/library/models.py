"""The models of these tests: no app of the project, so that the package needs none of it."""

from __future__ import annotations

from typing import ClassVar, Self

from django.db import models

from app.database.models import Manager, Model, QuerySet


class BookQuerySet(QuerySet["Book"]):
    """Books, with a method to filter them by."""

    def long(self) -> BookQuerySet:
        """The books of more than 100 pages."""
        return self.filter(pages__gt=100)


class Author(Model):
    """Somebody who writes."""

    name = models.CharField(max_length=20, unique=True)

    class Meta:
        ordering = ["id"]
        get_latest_by = "id"

    def __str__(self) -> str:
        return self.name


class Tag(Model):
    """A word that several books have."""

    word = models.CharField(max_length=20)

    def __str__(self) -> str:
        return self.word


class Book(Model):
    """What an author has written."""

    title = models.CharField(max_length=20)
    pages = models.IntegerField(default=0)
    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="books")
    tags = models.ManyToManyField(Tag, related_name="books")

    objects: ClassVar[Manager[Self]] = BookQuerySet.as_manager()
    ours = Manager()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.title
