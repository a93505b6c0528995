"""Every `a…` method of Django's, on our models, on either database."""

import inspect
from contextlib import aclosing
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import SynchronousOnlyOperation
from django.db import models
from django.db.models import Count, Max, Prefetch
from django.shortcuts import aget_list_or_404, aget_object_or_404

from app.database import models as ours
from app.database.models import aprefetch_related_objects
from tests.database.library.models import Author, Book, Tag


def awaiting_methods(kind: type) -> set[str]:
    """The names of the coroutine functions of `kind` that have a synchronous twin."""
    members = inspect.getmembers(kind, inspect.iscoroutinefunction)
    return {name for name, _ in members if name[0] == "a" and hasattr(kind, name[1:])}


def test_every_async_method_of_django_is_ours() -> None:
    assert awaiting_methods(models.QuerySet) == set(ours.QUERYSET.split())
    assert awaiting_methods(models.Model) == set(ours.MODEL.split())
    groups = type(User(pk=1).groups)  # what Django gives related managers
    added = {name for name in awaiting_methods(groups) if name in groups.__dict__}
    assert added == set(ours.RELATED_MANAGER.split())
    for related in (type(Author(pk=1).books), type(Book(pk=1).tags)):
        replaced = added & set(related.__dict__)
        assert replaced
        for name in replaced:
            assert getattr(related, name).__code__.co_filename.endswith("app/database/models.py")


async def test_get_and_count(author: Author) -> None:
    assert (await Book.objects.aget(title="First")).pages == 50
    with pytest.raises(Book.DoesNotExist):
        await Book.objects.aget(title="Fourth")
    assert await Book.objects.long().acount() == 2
    assert await Book.objects.filter(title="First").aexists()
    first = await Book.objects.afirst()
    assert first is not None
    assert await Book.objects.acontains(first)
    last = await Book.objects.select_related("author").alast()
    assert last is not None
    assert (last.title, last.author.name) == ("Third", "Ursula")
    assert (await Book.objects.aearliest("pages")).title == "First"
    assert (await Book.objects.alatest("pages")).title == "Third"
    assert await Book.objects.aaggregate(n=Count("id"), most=Max("pages")) == {"n": 3, "most": 250}
    assert set(await Book.objects.ain_bulk([first.pk])) == {first.pk}
    assert isinstance(await Book.objects.aexplain(), str)


async def test_create_update_and_delete(author: Author) -> None:
    book = await Book.objects.acreate(title="Fourth", author=author)
    book.pages = 10
    await book.asave(update_fields=["pages"])
    await Book.objects.filter(pk=book.pk).aupdate(title="4th")
    await book.arefresh_from_db()
    assert (book.title, book.pages) == ("4th", 10)
    assert await book.adelete() == (1, {"library.Book": 1})
    made, is_new = await Author.objects.aget_or_create(name="Stanislaw")
    assert is_new
    again, is_new = await Author.objects.aupdate_or_create(name="Stanislaw", defaults={"name": "S"})
    assert (again.pk, is_new) == (made.pk, False)
    many = await Book.objects.abulk_create([Book(title=str(n), author=author) for n in range(9)])
    for book in many:
        book.pages = 7
    assert await Book.objects.abulk_update(many, ["pages"], batch_size=4) == 9
    assert (await Book.objects.filter(pages=7).adelete())[0] == 9


async def test_related_managers(author: Author) -> None:
    book = await author.books.acreate(title="Fourth")
    await author.books.aget_or_create(title="Fifth")
    await author.books.aupdate_or_create(title="Fifth", defaults={"pages": 5})
    assert await author.books.acount() == 5
    tag = await book.tags.acreate(word="old")
    await book.tags.aadd(await Tag.objects.acreate(word="new"))
    await book.tags.aremove(tag)
    assert [t.word async for t in book.tags.all()] == ["new"]
    await book.tags.aset([tag])
    assert [t.word async for t in book.tags.all()] == ["old"]
    await book.tags.aclear()
    assert not await book.tags.aexists()
    other = await Author.objects.acreate(name="Other")
    await other.books.aadd(book)
    await other.books.aset([book])
    await book.arefresh_from_db()
    assert book.author_id == other.pk
    assert await other.books.long().acount() == 0


async def test_iteration(author: Author) -> None:
    books = Book.objects.prefetch_related(Prefetch("tags")).select_related("author")
    titles = ["First", "Second", "Third"]
    assert [book.title async for book in books] == titles
    assert [book.title async for book in books] == titles  # from its cache
    assert [title async for title in Book.objects.values_list("title", flat=True)] == titles
    assert [book.title async for book in books.aiterator(chunk_size=2)] == titles
    assert [book.title async for book in Book.ours.aiterator()] == titles
    with pytest.raises(ValueError, match="strictly positive"):
        await anext(books.aiterator(chunk_size=0))


async def test_iteration_may_query_and_stop_early(author: Author) -> None:
    rows = Book.objects.aiterator(chunk_size=1)
    async with aclosing(rows) as books:  # type: ignore[type-var]  # the stubs promise too little
        async for book in books:
            assert (await Book.objects.aget(pk=book.pk)).title == "First"
            break
    assert await Book.objects.acount() == 3


async def test_raw(author: Author) -> None:
    raw = Book.objects.raw("SELECT * FROM library_book WHERE pages > %s ORDER BY id", [100])
    assert [book.title async for book in raw] == ["Second", "Third"]
    assert [book.title async for book in raw.using("default")] == ["Second", "Third"]
    with_tags = Book.objects.raw("SELECT * FROM library_book").prefetch_related("tags")
    assert [list(book.tags.all()) async for book in with_tags] == [[], [], []]


async def test_prefetch(author: Author) -> None:
    authors = [await Author.objects.aget(), await Author.objects.aget()]
    await aprefetch_related_objects(authors, "books__tags")
    assert [book.title for book in authors[1].books.all()] == ["First", "Second", "Third"]
    await aprefetch_related_objects([], "books")


async def test_shortcuts(author: Author) -> None:
    assert (await aget_object_or_404(Book, title="First")).pages == 50
    assert len(await aget_list_or_404(Book.objects.long())) == 2


async def test_sync_code_on_the_loop_is_refused(author: Author) -> None:
    with pytest.raises(SynchronousOnlyOperation):
        Book.objects.count()
    book = await Book.objects.aget(title="First")
    with pytest.raises(SynchronousOnlyOperation):
        book.author.name  # noqa: B018


async def test_overridden_methods_are_called(author: Author, monkeypatch: Any) -> None:
    saved = []

    def save(self: Book, **kwargs: Any) -> None:
        saved.append(self.title)
        models.Model.save(self, **kwargs)

    monkeypatch.setattr(Book, "save", save)
    await Book.objects.acreate(title="Fourth", author=author)
    book = await author.books.aget(title="Fourth")
    await book.asave()
    assert saved == ["Fourth", "Fourth"]


async def test_everything_works_before_the_lifespan(library: Author) -> None:
    assert await Book.objects.acount() == 3
    titles = [book.title async for book in Book.objects.order_by("pk").aiterator(chunk_size=1)]
    assert titles == ["First", "Second", "Third"]
