"""SQL that was kept is the SQL that Django compiles, with the parameters that Django prepares."""

import datetime as dt
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.exceptions import EmptyResultSet, FieldError, FullResultSet
from django.db import connection
from django.db.backends.postgresql.compiler import SQLCompiler as DjangosCompiler
from django.db.models import Count, F, Model, Q, Value
from django.db.models.functions import Mod, TruncDate
from django.utils import timezone
from hypothesis import HealthCheck, given, settings

from app.database import compiler as compiler_module
from app.database.compiler import Recent, SQLCompiler
from tests.changes.test_conditions import Drawn, querysets
from tests.items.models import Item, Part


@pytest.fixture(autouse=True)
def shapes(monkeypatch: pytest.MonkeyPatch) -> dict[Any, Any]:
    """What is kept: at first nothing."""
    kept: Recent[Any] = Recent()
    monkeypatch.setattr(SQLCompiler, "shapes", kept)
    monkeypatch.setattr(SQLCompiler, "shapes_of_objects", Recent())
    return kept


def compiled(kind: type[DjangosCompiler], queryset: Any) -> Any:
    """SQL, parameters and what is needed to make rows of the answer; or why there is none."""
    compiler = kind(queryset.query.clone(), connection, "default")
    try:
        sql, parameters = compiler.as_sql()
    except (EmptyResultSet, FullResultSet, FieldError, TypeError, ValueError) as error:
        return type(error)
    selected = [(sql, alias) for _, (sql, _), alias in compiler.select or ()]
    return (
        sql,
        [(type(each), repr(each)) for each in parameters],
        selected,
        _described(compiler.klass_info),
        compiler.annotation_col_map,
        compiler.col_count,
        compiler.has_extra_select,
    )


def _described(info: Any) -> Any:
    if info is None:
        return None
    return (
        info["model"],
        info["select_fields"],
        info.get("field"),
        info.get("reverse"),
        [_described(each) for each in info.get("related_klass_infos", ())],
    )


def assert_equal(queryset: Any) -> None:
    """Compile it twice, so that the second time uses what the first has kept."""
    expected = compiled(DjangosCompiler, queryset)
    assert compiled(SQLCompiler, queryset) == expected
    assert compiled(SQLCompiler, queryset) == expected


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(querysets(), querysets())
def test_any_queryset_is_compiled_as_by_django(db: None, first: Drawn, second: Drawn) -> None:
    for drawn in (first, second):
        assert_equal(drawn.rows)


def by_value(value: int) -> Iterator[Any]:
    """Querysets of the same shapes for each value."""
    text = f"text {value}"
    yield Item.objects.filter(owner_id=value)
    yield Item.objects.filter(owner=User(pk=value)).select_related("owner")
    yield Item.objects.filter(owner__username=text, pk__gt=value).order_by("-id")[:1]
    yield Item.objects.filter(Q(pk=value) | ~Q(name__contains=text), owner__isnull=False)
    yield Item.objects.filter(pk__in=[value, value + 1, value + 2])
    yield Item.objects.filter(pk__range=(value, value + 1)).only("name")
    yield Item.objects.exclude(parts__name__startswith=text).defer("name")
    yield Item.objects.filter(parts__pk=value).values_list("pk", "owner__username")
    yield User.objects.filter(last_login__lt=dt.datetime(2026, 1, 1 + value, tzinfo=dt.UTC))
    yield User.objects.filter(groups=value).distinct()
    yield Part.objects.filter(item__owner__groups__name=text).reverse()
    yield Group.objects.filter(permissions__codename=text)


def test_another_value_is_not_another_shape(shapes: dict[Any, Any]) -> None:
    for queryset in by_value(1):
        assert_equal(queryset)
    kept = dict(shapes)
    known = [each for each in kept.values() if each is not None]
    assert len(known) >= 10
    for value in (2, 3):
        for queryset in by_value(value):
            assert_equal(queryset)
    assert shapes == kept


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Item.objects.filter(pk=1), Item.objects.filter(owner_id=1)),
        (Item.objects.filter(pk=1), Item.objects.exclude(pk=1)),
        (Item.objects.filter(pk=1), Item.objects.filter(pk=1)[:1]),
        (Item.objects.filter(pk=1), Item.objects.filter(pk=1).reverse()),
        (Item.objects.filter(pk=1), Item.objects.filter(pk=1).select_related("owner")),
        (Item.objects.filter(pk__in=[1]), Item.objects.filter(pk__in=[1, 2])),
        (Item.objects.filter(pk__in=[1, 2]), Item.objects.filter(pk__in=[])),
        (Item.objects.filter(pk=1), Item.objects.filter(pk=2**70)),
        (User.objects.filter(is_active=True), User.objects.filter(is_active=False)),
        (User.objects.filter(email=None), User.objects.filter(email="")),
        (Item.objects.only("name"), Item.objects.defer("name")),
        (Item.objects.values("pk", "name"), Item.objects.values("name", "pk")),
        (Item.objects.values("pk"), Item.objects.values_list("pk", flat=True)),
        (Item.objects.filter(pk=1), Item.objects.filter(pk=F("owner_id"))),
        (Item.objects.filter(pk=1), Item.objects.filter(pk=1).annotate(n=Count("parts"))),
        (Item.objects.order_by("pk"), Item.objects.order_by("-pk")),
        (Item.objects.order_by("owner__username"), Item.objects.order_by("owner")),
        (Item.objects.filter(name="a"), Item.objects.filter(name__iexact="a")),
        (Item.objects.distinct(), Item.objects.all()),
    ],
)
def test_what_looks_alike_is_told_apart(one: Any, other: Any) -> None:
    for queryset in (one, other, one):
        assert_equal(queryset)


def test_a_queryset_that_is_asked_again_is_not_compiled_again(shapes: dict[Any, Any]) -> None:
    queryset = Item.objects.filter(pk=1).select_related("owner")
    assert_equal(queryset)
    assert_equal(queryset)  # now its joins are known
    kept = dict(shapes)
    for _ in range(10):
        assert_equal(queryset)
    assert shapes == kept


def _with_value(value: object) -> Any:
    return User.objects.annotate(value=Value(value)).values_list("value")


SMALL = User.objects.alias(rest=Mod("pk", Value(5))).order_by("rest")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            User.objects.filter(username="UTC").order_by("date_joined__date"),
            User.objects.filter(username="ada").order_by("date_joined__date"),
        ),
        (_with_value(Decimal(1)), _with_value(Decimal("1.00"))),
        (_with_value(1), _with_value(True)),
        (_with_value(1), _with_value(1.0)),
        (SMALL.filter(pk=5), SMALL.filter(pk=7)),
        (SMALL.filter(pk__gte=5).reverse(), SMALL.filter(pk__gte=7).reverse()),
        (Item.objects.filter(pk=1).order_by("?"), Item.objects.filter(pk=2).order_by("?")),
    ],
)
def test_parameters_of_the_ordering_are_told_apart(one: Any, other: Any) -> None:
    """They follow those of the conditions, and may look like them."""
    for queryset in (one, other, one):
        assert_equal(queryset)


@pytest.mark.only("postgresql")  # which alone knows DISTINCT ON
@pytest.mark.parametrize(
    "queryset",
    [
        User.objects.order_by("date_joined__date")[:3],
        User.objects.order_by("-date_joined__hour")[:3],
        User.objects.distinct("date_joined__date"),
        Item.objects.order_by("owner__date_joined__date"),
        User.objects.annotate(day=TruncDate("date_joined")).order_by("day"),
    ],
)
def test_time_zones_are_told_apart(queryset: Any) -> None:
    for zone in ("UTC", "Asia/Tokyo", "America/New_York", "UTC"):
        with timezone.override(zone):
            assert_equal(queryset)


def test_a_related_ordering_may_have_expressions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(User._meta, "ordering", [Mod("pk", Value(5)), "username"])
    for number in (5, 7):
        assert_equal(Item.objects.filter(pk=number).order_by("owner"))


@pytest.mark.only("postgresql")  # where queries are asked by this compiler
def test_exists_is_one_shape(db: None, shapes: dict[Any, Any]) -> None:
    for number in range(20):
        assert not Item.objects.filter(pk=number).exists()
    assert len(shapes) == 1
    assert None not in shapes.values()


def test_threads_share_what_is_kept(
    shapes: dict[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler_module, "MAX_SHAPES", 5)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            for done in [threads.submit(_compile_many) for _ in range(8)]:
                done.result()
    finally:
        sys.setswitchinterval(before)


def _compile_many() -> None:
    for number in range(1, 500):
        assert_equal(Item.objects.all()[: number % 20 + 1])


def test_only_so_many_are_kept(shapes: dict[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler_module, "MAX_SHAPES", 10)
    for number in range(1, 40):
        assert_equal(Item.objects.all()[:number])
    assert len(shapes) == 10


def test_rows_are_the_same_objects_as_ever(db: None) -> None:
    owners = [User.objects.create(username=name) for name in ("ada", "bob")]
    for owner in owners:
        Item.objects.create(owner=owner, name=owner.username)

    def seen(queryset: Any) -> list[Any]:
        return [
            {**each.__dict__, "_state": None} if isinstance(each, Model) else each
            for each in queryset
        ]

    for owner in (*owners, *owners):
        own = Item.objects.filter(owner=owner).select_related("owner")
        (item,) = own
        assert (item.name, item.owner) == (owner.username, owner)
        assert own.values_list("name", "owner__username").get() == (owner.username,) * 2
        assert own.last() == item
        assert seen(own.select_related(None).only("name")) != seen(own)
        assert own.exists()
        assert own.count() == 1
