"""Whenever a queryset's result changes, a changed row meets one of its conditions."""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import AbstractUser, Group, User
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ImproperlyConfigured
from django.db import models, transaction
from django.db.models import Count, Exists, F, FilteredRelation, OuterRef, Prefetch, Q, Subquery
from django.db.models.expressions import Func, RawSQL
from django.test.utils import isolate_apps
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from app.changes import conditions as module
from app.changes.change import Change
from app.changes.conditions import Dependency, dependencies
from app.changes.keys import Key, canonical, keys_of
from tests.items.models import Item, Part

pytestmark = pytest.mark.once

Membership: Any = User.groups.through

items: Any = Item._default_manager
parts: Any = Part._default_manager
users: Any = User._default_manager
groups: Any = Group._default_manager
owner: Any = User(pk=5)
EXAMPLES: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "model": (lambda: Item, ["every change of items_item"]),
    "all rows": (items.all, ["every change of items_item"]),
    "one row": (lambda: items.filter(pk=5), ["items_item where id = 5"]),
    "no row": (lambda: items.filter(pk__in=[]), []),
    "none": (items.none, []),
    "empty slice": (lambda: items.all()[0:0], []),
    "contradiction": (lambda: items.filter(owner=1).filter(owner=2), []),
    "few": (lambda: items.filter(owner__in=[9, 10]), ["items_item where owner_id in (9, 10)"]),
    "several": (lambda: items.filter(pk__in=range(9)), ["items_item where id in (0, 1, …)"]),
    "many": (lambda: items.filter(pk__in=range(1001)), ["every change of items_item"]),
    "both": (
        lambda: items.filter(owner=1, pk__in=[2, 3]),
        ["items_item where owner_id = 1 and id in (2, 3)"],
    ),
    "null": (
        lambda: LogEntry.objects.filter(content_type=None).order_by(),
        ["django_admin_log where content_type_id is null"],
    ),
    "or": (lambda: items.filter(Q(pk=1) | Q(pk=2)), ["every change of items_item"]),
    "not": (lambda: items.exclude(pk=1), ["every change of items_item"]),
    "no key": (lambda: items.filter(name="a"), ["every change of items_item"]),
    "transformed": (lambda: items.filter(pk__gt=1), ["every change of items_item"]),
    "compared": (lambda: items.filter(pk=F("owner")), ["every change of items_item"]),
    "related manager": (owner.item_set.all, ["items_item where owner_id = 5"]),
    "forward join": (
        lambda: items.filter(owner_id=5).select_related("owner"),
        ["items_item where owner_id = 5", "auth_user where id = 5"],
    ),
    "join of joins": (
        lambda: users.filter(pk=5, item__parts__name="a"),
        ["auth_user where id = 5", "items_item where owner_id = 5", "every change of items_part"],
    ),
    "many to many": (
        lambda: groups.filter(user__in=[5, 6]),
        ["every change of auth_group", "auth_user_groups where user_id in (5, 6)"],
    ),
    "outer join": (
        lambda: users.filter(pk=5).annotate(count=Count("item")),
        ["auth_user where id = 5", "items_item where owner_id = 5"],
    ),
    "null of an outer join": (
        lambda: users.filter(item__isnull=True),
        ["every change of auth_user", "every change of items_item"],
    ),
    "ordered by a relation": (
        lambda: parts.filter(item=5).order_by("item__owner__username"),
        ["items_part where item_id = 5", "items_item where id = 5", "every change of auth_user"],
    ),
    "subquery": (
        lambda: items.filter(owner__in=users.filter(groups=5)),
        [
            "every change of items_item",
            "every change of auth_user",
            "auth_user_groups where group_id = 5",
        ],
    ),
    "excluded relation": (
        lambda: users.filter(pk=5).exclude(item__name="a"),
        ["auth_user where id = 5", "every change of items_item"],
    ),
    "union": (
        lambda: items.filter(pk=5).union(items.filter(owner=6)),
        ["items_item where id = 5", "items_item where owner_id = 6"],
    ),
    "values of a union": (
        lambda: items.filter(pk=5).union(items.filter(pk=6)).values("owner__username"),
        ["items_item where id = 5", "every change of auth_user", "items_item where id = 6"],
    ),
    "prefetch of a union": (
        lambda: items.filter(pk=5).prefetch_related("parts").union(items.filter(pk=6)),
        ["items_item where id = 5", "items_item where id = 6", "every change of items_part"],
    ),
    "prefetch": (
        lambda: users.filter(pk=5).prefetch_related("item_set__parts", "groups"),
        [
            "auth_user where id = 5",
            "items_item where owner_id = 5",
            "every change of items_part",
            "auth_user_groups where user_id = 5",
            "every change of auth_group",
        ],
    ),
    "prefetch of its own": (
        lambda: items.filter(pk=5).prefetch_related(Prefetch("parts", parts.filter(pk__in=[6]))),
        ["items_item where id = 5", "items_part where item_id = 5 and id = 6"],
    ),
    "forward prefetch": (
        lambda: parts.filter(item=5).prefetch_related("item__owner"),
        ["items_part where item_id = 5", "items_item where id = 5", "every change of auth_user"],
    ),
    "prefetch along an attribute": (
        lambda: users.filter(pk=5).prefetch_related(
            Prefetch("item_set", to_attr="mine"), "mine__parts"
        ),
        ["auth_user where id = 5", "items_item where owner_id = 5", "every change of items_part"],
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_conditions_read_like_the_query(name: str) -> None:
    make, expected = EXAMPLES[name]
    assert [str(dependency) for dependency in dependencies(make())] == expected


@pytest.mark.parametrize(
    "queryset",
    [
        items.raw("SELECT * FROM items_item"),
        items.extra(tables=["auth_user"]),
        items.extra(where=["EXISTS (SELECT 1 FROM auth_user)"]),
        items.extra(select={"count": "SELECT COUNT(*) FROM auth_user"}),
        items.annotate(count=RawSQL("SELECT COUNT(*) FROM auth_user", ())),
        items.filter(Exists(users.extra(where=["TRUE"]))),
        items.prefetch_related("anything"),
        items.annotate(
            count=Func(template="(SELECT COUNT(*) FROM x)", output_field=models.IntegerField())
        ),
    ],
)
def test_unseen_tables_are_refused(queryset: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="Name the models themselves"):
        dependencies(queryset)


@pytest.mark.parametrize("source", [items, AbstractUser, "items.Item", None])
def test_only_querysets_and_models_have_dependencies(source: Any) -> None:
    with pytest.raises(TypeError):
        dependencies(source)


def test_unknown_columns_concern_everybody() -> None:
    [dependency] = dependencies(items.filter(pk=5))
    assert dependency.concerns(Change("items_item"))
    assert dependency.concerns(Change("items_item", ("owner_id",), ("1",)))
    assert dependency.concerns(Change("items_item", ("id", "owner_id"), ("5", "1")))
    assert not dependency.concerns(Change("items_item", ("id", "owner_id"), ("6", "1")))
    assert not dependency.concerns(Change("items_part"))


@pytest.fixture
def own_models(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Models that a test declares are known to that test alone."""
    with isolate_apps("tests.items") as isolated:
        monkeypatch.setattr(module, "apps", isolated)
        module._model_of.cache_clear()
        yield
    module._model_of.cache_clear()


def test_conditions_on_models_of_every_kind(own_models: None) -> None:
    class Tag(models.Model):  # noqa: DJ008 - never shown
        content_type = models.ForeignKey(ContentType, models.CASCADE)
        object_id = models.IntegerField()
        tagged = GenericForeignKey()

        class Meta:
            app_label = "items"

    class Place(models.Model):  # noqa: DJ008
        code = models.CharField(max_length=5, unique=True)
        tags = GenericRelation(Tag)

        class Meta:
            app_label = "items"

    class Shop(Place):  # noqa: DJ008
        near = models.ForeignKey(
            Place, models.CASCADE, null=True, to_field="code", related_name="+"
        )

        class Meta:
            app_label = "items"

    class Visit(models.Model):  # noqa: DJ008
        pk = models.CompositePrimaryKey("day", "place")
        day = models.DateField()
        place = models.ForeignKey(Place, models.CASCADE)

        class Meta:
            app_label = "items"

    def conditions_of(source: Any) -> list[str]:
        return [str(dependency) for dependency in dependencies(source)]

    day, shops, places, visits = (
        dt.date(2026, 1, 2),
        *(model._default_manager for model in (Shop, Place, Visit)),
    )
    assert conditions_of(Shop) == ["every change of items_shop", "every change of items_place"]
    assert conditions_of(shops.filter(pk=5)) == [
        "items_shop where place_ptr_id = 5",
        "items_place where id = 5",
    ]
    assert conditions_of(places.filter(pk=5).prefetch_related("shop", "tags")) == [
        "items_place where id = 5",
        "items_shop where place_ptr_id = 5",
        "every change of items_tag",
    ]
    assert conditions_of(places.filter(tags__object_id=5)) == [
        "every change of items_place",
        "every change of items_tag",
    ]
    assert conditions_of(shops.filter(near=None).select_related(None)) == [
        "items_shop where near_id is null",
        "every change of items_place",
    ]
    assert conditions_of(visits.filter(pk=(day, 5)).select_related("place")) == [
        "items_visit where day = 2026-01-02 and place_id = 5",
        "items_place where id = 5",
    ]
    assert conditions_of(visits.filter(pk__in=[(day, 5), (day, 6), (day, None)])) == [
        "items_visit where day = 2026-01-02 and place_id in (5, 6)"
    ]
    with pytest.raises(ImproperlyConfigured, match="'tagged'"):
        dependencies(Tag._default_manager.prefetch_related("tagged"))


# What follows draws rows, a queryset and writes; ids and texts are few, so that they meet.
IDS = st.integers(1, 3)
TEXTS = st.sampled_from("ab")
MODELS: list[Any] = [User, Group, Item, Part, Membership]
OWN_KEYS = {User: ["pk"], Group: ["pk"], Item: ["pk", "owner"], Part: ["pk", "item"]}
KEY_PATHS = {
    User: ["pk", "item", "item__parts", "groups", "item__parts__item__owner"],
    Group: ["pk", "user", "user__item", "user__item__parts"],
    Item: ["pk", "owner", "owner__pk", "owner__groups", "parts", "parts__item__parts"],
    Part: ["pk", "item", "item__owner", "item__owner__groups", "item__parts"],
}
TEXT_PATHS = {
    User: ["first_name", "item__name", "item__parts__name", "groups__name"],
    Group: ["name", "user__first_name", "user__item__name"],
    Item: ["name", "owner__first_name", "owner__groups__name", "parts__name"],
    Part: ["name", "item__name", "item__owner__first_name", "item__owner__groups__name"],
}
RELATED: dict[Any, list[str]] = {
    User: [],
    Group: [],
    Item: ["owner"],
    Part: ["item", "item__owner"],
}
PREFETCHED: dict[Any, list[Any]] = {
    User: ["groups", "item_set", "item_set__parts", "item_set__owner__groups"],
    Group: ["user_set", "user_set__item_set__parts"],
    Item: ["owner", "parts", "owner__groups", "parts__item__owner"],
    Part: ["item", "item__owner", "item__parts", "item__owner__groups"],
}
COUNTED = {User: "item", Group: "user", Item: "parts", Part: "item__parts"}


@st.composite
def conditions(draw: st.DrawFn, model: Any, depth: int = 1) -> Any:
    if not depth or draw(st.booleans()):
        return draw(lookups(model))
    left, right = draw(conditions(model, depth - 1)), draw(conditions(model, depth - 1))
    match draw(st.sampled_from(["and", "or", "or", "not", "xor", "subquery", "exists"])):
        case "and":
            return left & right
        case "or":
            return left | right
        case "xor":
            return left ^ right
        case "not":
            return ~left
        case "exists":
            return Q(draw(exists(model)))
    inner = draw(st.sampled_from(list(KEY_PATHS)))
    rows = inner._default_manager.filter(draw(conditions(inner, 0)))
    if draw(st.booleans()):
        rows = rows.order_by(draw(st.sampled_from(TEXT_PATHS[inner])), "pk")[: draw(IDS)]
    return Q((f"{draw(st.sampled_from(KEY_PATHS[model]))}__in", rows.values("pk")))


@st.composite
def lookups(draw: st.DrawFn, model: Any) -> Q:
    own, key, text = (
        draw(st.sampled_from(paths[model])) for paths in (OWN_KEYS, KEY_PATHS, TEXT_PATHS)
    )
    match draw(st.sampled_from(["own", "own", "key", "key", "in", "text", "null", "f"])):
        case "own":
            return Q((own, draw(IDS)))
        case "key":
            return Q((key, draw(IDS)))
        case "in":
            return Q((f"{draw(st.sampled_from([own, key]))}__in", draw(st.lists(IDS, max_size=3))))
        case "text":
            return Q((text, draw(TEXTS)))
        case "null":
            return Q((f"{key}__isnull", draw(st.booleans())))
    return Q((key, F(draw(st.sampled_from(KEY_PATHS[model])))))


@st.composite
def exists(draw: st.DrawFn, model: Any) -> Exists:
    inner = draw(st.sampled_from(list(KEY_PATHS)))
    outer = OuterRef(draw(st.sampled_from(KEY_PATHS[model])))
    rows = inner._default_manager.filter(draw(conditions(inner, 0)))
    return Exists(rows.filter((draw(st.sampled_from(KEY_PATHS[inner])), outer)))


@dataclass
class Drawn:
    """A queryset, which is not run to be shown."""

    kind: str
    rows: Any

    def __repr__(self) -> str:
        lookups = [vars(each) for each in self.rows._prefetch_related_lookups if str(each) != each]
        return f"{self.rows.query} {lookups}"


@st.composite
def querysets(draw: st.DrawFn) -> Drawn:
    model = draw(st.sampled_from(list(KEY_PATHS)))
    rows = model._default_manager.all()
    if draw(st.integers(0, 5)) == 0:
        rows = rows.filter((draw(st.sampled_from(OWN_KEYS[model])), draw(IDS)))
        return Drawn("simple", rows.select_related(*RELATED[model]) if RELATED[model] else rows)
    for _ in range(draw(st.integers(1, 2))):
        rows = rows.filter(draw(conditions(model)))
    if draw(st.integers(0, 4)) == 0:
        return draw(combined(model, rows))
    for change in draw(st.lists(st.sampled_from(CHANGES), max_size=1)):
        rows = draw(change(model, rows))
    if draw(st.booleans()):
        return Drawn("related", draw(with_relations(model, rows)))
    text = draw(st.sampled_from(TEXT_PATHS[model]))
    match draw(st.sampled_from(["plain", "ordered", "sliced", "distinct", "values"])):
        case "ordered":
            rows = rows.order_by(text, "pk")
        case "sliced":
            start = draw(st.integers(0, 2))
            rows = rows.order_by(text, "pk")[start : start + draw(st.integers(0, 2))]
        case "distinct":
            rows = rows.values_list(text).distinct()
        case "values":
            rows = rows.values(text).annotate(n=Count("pk"))
    return Drawn("other", rows)


@st.composite
def combined(draw: st.DrawFn, model: Any, rows: Any) -> Drawn:
    other = model._default_manager.filter(draw(conditions(model)))
    combine = draw(st.sampled_from(["union", "intersection", "difference"]))
    rows = getattr(rows.order_by(), combine)(other.order_by()).order_by("id")
    if draw(st.booleans()):
        rows = rows.values("id", draw(st.sampled_from(TEXT_PATHS[model])))
    return Drawn(combine, rows)


@st.composite
def with_relations(draw: st.DrawFn, model: Any, rows: Any) -> Any:
    if RELATED[model]:
        rows = rows.select_related(draw(st.sampled_from(RELATED[model])))
    rows = rows.prefetch_related(*draw(st.lists(st.sampled_from(PREFETCHED[model]))))
    return rows.prefetch_related(draw(own_prefetches(model))) if draw(st.booleans()) else rows


@st.composite
def own_prefetches(draw: st.DrawFn, model: Any) -> Any:
    names = {User: Item, Group: User, Item: Part, Part: Item}
    path = {User: "item_set", Group: "user_set", Item: "parts", Part: "item"}[model]
    rows = names[model]._default_manager.filter(draw(conditions(names[model])))
    nested = draw(st.lists(st.sampled_from(PREFETCHED[names[model]]), max_size=2))
    return Prefetch(path, rows.prefetch_related(*nested).distinct(), to_attr="mine")


@st.composite
def counted(draw: st.DrawFn, model: Any, rows: Any) -> Any:
    only = draw(st.one_of(st.none(), conditions(model)))
    rows = rows.annotate(count=Count(COUNTED[model], filter=only, distinct=draw(st.booleans())))
    return rows.filter(count__gt=0) if draw(st.booleans()) else rows


@st.composite
def existing(draw: st.DrawFn, model: Any, rows: Any) -> Any:
    return rows.annotate(exists=draw(exists(model)))


@st.composite
def looked_up(draw: st.DrawFn, model: Any, rows: Any) -> Any:
    inner = draw(st.sampled_from(list(KEY_PATHS)))
    found = inner._default_manager.filter(draw(conditions(inner, 0)))
    found = found.filter((draw(st.sampled_from(KEY_PATHS[inner])), OuterRef("pk")))
    text = draw(st.sampled_from(TEXT_PATHS[inner]))
    return rows.annotate(text=Subquery(found.order_by(text, "pk").values(text)[:1]))


@st.composite
def filtered(draw: st.DrawFn, model: Any, rows: Any) -> Any:
    path = {User: "item", Group: "user", Item: "parts", Part: "item"}[model]
    condition = draw(st.sampled_from([Q((f"{path}__pk", 1)), Q((f"{path}__pk__in", [1, 2]))]))
    rows = rows.annotate(near=FilteredRelation(path, condition=condition))
    return rows.filter(Q(near=draw(IDS)) if draw(st.booleans()) else Q(near__isnull=True))


CHANGES: list[Any] = [counted, existing, looked_up, filtered]


def numbered(rows: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[int, Any]]:
    """Rows 1 to 3, of which some may be missing."""
    return st.fixed_dictionaries({1: rows, 2: rows}, optional={3: rows})


def several(values: st.SearchStrategy[Any], count: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=count, max_size=count)


ROWS = st.fixed_dictionaries(
    {
        User: numbered(st.fixed_dictionaries({"first_name": TEXTS})),
        Group: numbered(st.just({})),
        Item: numbered(st.fixed_dictionaries({"name": TEXTS, "owner_id": IDS})),
        Part: numbered(st.fixed_dictionaries({"name": TEXTS, "item_id": IDS})),
        Membership: st.sets(st.tuples(IDS, IDS), min_size=1),
    }
)
FIELDS: dict[Any, Any] = {
    User: {"first_name": TEXTS},
    Group: {"name": st.sampled_from("abcd")},
    Item: {"name": TEXTS, "state": st.sampled_from(["OPEN", "DONE"]), "owner_id": IDS},
    Part: {"name": TEXTS, "item_id": IDS},
}


@st.composite
def writes(draw: st.DrawFn) -> tuple[Any, ...]:
    model = draw(st.sampled_from([User, Group, Item, Item, Part, Part, Membership]))
    if model is Membership:
        return "join" if draw(st.booleans()) else "leave", model, draw(IDS), draw(IDS)
    match kind := draw(st.sampled_from(["create", "update", "update_all", "delete"])):
        case "create":
            values = {name: draw(values) for name, values in FIELDS[model].items()}
            return kind, model, draw(st.integers(3, 4)), values
        case "delete":
            return kind, model, draw(IDS), {}
    name = draw(st.sampled_from(list(FIELDS[model])))
    return kind, model, draw(IDS), {name: draw(FIELDS[model][name])}


def insert(rows: dict[Any, Any]) -> None:
    ids = {model: set(rows[model]) for model in (User, Group, Item, Part)}
    User._default_manager.bulk_create(
        User(pk=pk, username=f"user {pk}", **values) for pk, values in rows[User].items()
    )
    Group.objects.bulk_create(Group(pk=pk, name="abc"[pk - 1]) for pk in ids[Group])
    mine = {pk: values for pk, values in rows[Item].items() if values["owner_id"] in ids[User]}
    items.bulk_create(Item(pk=pk, **values) for pk, values in mine.items())
    parts.bulk_create(
        Part(pk=pk, **values) for pk, values in rows[Part].items() if values["item_id"] in mine
    )
    Membership.objects.bulk_create(
        Membership(user_id=user, group_id=group)
        for user, group in rows[Membership]
        if user in ids[User] and group in ids[Group]
    )


def write(kind: str, model: Any, pk: int, values: Any) -> None:
    """Do it, unless it would break a constraint."""
    rows = model._default_manager
    if kind in ("join", "leave"):
        if users.filter(pk=pk).exists() and groups.filter(pk=values).exists():
            member = users.get(pk=pk).groups
            (member.add if kind == "join" else member.remove)(values)
        return
    if kind == "delete":
        rows.filter(pk=pk).delete()
        return
    if not users.filter(pk=values.get("owner_id", 1)).exists() and "owner_id" in values:
        return
    if "item_id" in values and not items.filter(pk=values["item_id"]).exists():
        return
    if model is Group and groups.filter(name=values["name"]).exists():
        return
    if kind == "create":
        if not rows.filter(pk=pk).exists():
            rows.create(pk=pk, **({"username": f"user {pk}"} if model is User else {}), **values)
    elif kind == "update" or model is Group:
        rows.filter(pk=pk).update(**values)
    else:
        rows.update(**values)


def all_rows() -> dict[tuple[Any, Any], dict[str, Any]]:
    return {(m, row["id"]): row for m in MODELS for row in m._default_manager.values()}


def changes(before: dict[Any, Any], after: dict[Any, Any]) -> Iterator[Change]:
    for row in before.keys() | after.keys():
        versions = before.get(row), after.get(row)
        if versions[0] != versions[1]:
            keys: tuple[Key, ...] = keys_of(row[0])
            for version in filter(None, versions):
                values = tuple(canonical(key, version[key.column]) for key in keys)
                yield Change(row[0]._meta.db_table, tuple(key.column for key in keys), values)


def result(queryset: Any) -> Any:
    """All that the queryset reads; rows without an order in one of their texts."""
    rows = [snapshot(row, ()) for row in queryset.all()]
    return rows if queryset.ordered else sorted(rows, key=repr)


def snapshot(value: Any, within: tuple[Any, ...]) -> Any:
    if isinstance(value, models.Model):
        if value in within:
            return value.pk
        caches = (value._state.fields_cache, getattr(value, "_prefetched_objects_cache", {}))
        state = {name: each for name, each in vars(value).items() if not name.startswith("_")}
        for cache in caches:
            state |= {f"{name} (related)": each for name, each in cache.items()}
        return {name: snapshot(each, (*within, value)) for name, each in state.items()}
    if isinstance(value, list | models.QuerySet):
        return sorted((snapshot(each, within) for each in value), key=repr)
    return value


def test_whenever_a_result_changes_its_conditions_are_met(db: None) -> None:
    seen: Counter[str] = Counter()

    def check(drawn: Drawn, found: list[Dependency], changed: list[Change], is_other: bool) -> None:
        is_concerned = any(each.concerns(change) for each in found for change in changed)
        outcome = ["asleep", "woken for nothing", "missed", "woken"][2 * is_other + is_concerned]
        event(f"{drawn.kind}: {outcome}")
        seen[f"{drawn.kind}: {outcome}"] += 1
        assert outcome != "missed", (drawn, [str(each) for each in found], changed)

    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
    @given(ROWS, several(querysets(), 2), several(writes(), 5))
    def holds(rows: dict[Any, Any], all_drawn: list[Drawn], steps: list[Any]) -> None:
        with transaction.atomic():
            insert(rows)
            rows_before = all_rows()
            results = [result(drawn.rows) for drawn in all_drawn]
            for step in steps:
                found = [dependencies(drawn.rows) for drawn in all_drawn]
                write(*step)
                rows_after = all_rows()
                if changed := list(changes(rows_before, rows_after)):
                    rows_before = rows_after
                    for i, drawn in enumerate(all_drawn):
                        before, results[i] = results[i], result(drawn.rows)
                        check(drawn, found[i], changed, results[i] != before)
            transaction.set_rollback(True)

    holds()
    assert seen["simple: asleep"] > 2 * seen["simple: woken for nothing"]
