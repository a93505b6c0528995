"""Find out which changes can alter the result of a queryset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from django.apps import apps
from django.core.exceptions import EmptyResultSet, ImproperlyConfigured
from django.db import connections
from django.db.models import Model, QuerySet, lookups
from django.db.models.expressions import Col, Func, RawSQL
from django.db.models.fields import related_descriptors, related_lookups
from django.db.models.fields.tuple_lookups import TupleExact, TupleIn
from django.db.models.manager import BaseManager
from django.db.models.query import RawQuerySet, normalize_prefetch_lookups
from django.db.models.sql import Query
from django.db.models.sql.constants import LOUTER
from django.db.models.sql.datastructures import BaseTable, Join
from django.db.models.sql.where import AND, ExtraWhere, NothingNode, WhereNode

from ..database.compiler import Recent, shape_of
from .change import Change
from .keys import Key, canonical, keys_of

MAX_VALUES = 1000
MAX_PREFETCH_LEVELS = 20

# Only what these very classes do is known: a subclass may compare in another way.
_EXACT = {lookups.Exact, lookups.IntegerFieldExact, related_lookups.RelatedExact}
_IN = {lookups.In, related_lookups.RelatedIn}
_IS_NULL = {lookups.IsNull, related_lookups.RelatedIsNull}

Values = frozenset[str | None]
Conditions = Mapping[str, Values]
"""Column → the values of which it has one; all must hold."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """Rows of one table whose change can alter a query's result."""

    model: type[Model]
    conditions: Conditions = field(default_factory=dict)
    """Empty: every row."""

    @property
    def table(self) -> str:
        """The name of the table."""
        return self.model._meta.db_table

    def concerns(self, change: Change) -> bool:
        """Whether the changed row is, or may be, one of these."""
        if change.table != self.table:
            return False
        known = dict(zip(change.columns, change.values, strict=True))
        return all(
            column not in known or known[column] in values
            for column, values in self.conditions.items()
        )

    def __str__(self) -> str:
        if not self.conditions:
            return f"every change of {self.table}"
        conditions = [_described(*condition) for condition in self.conditions.items()]
        return f"{self.table} where {' and '.join(conditions)}"


def dependencies(source: QuerySet[Any] | RawQuerySet[Any] | type[Model]) -> list[Dependency]:
    """The rows on which the queryset's result depends, those that it prefetches included.

    Whenever its result changes, one of them has changed; the reverse need not be true. A model
    in place of a queryset depends on every row of its tables. Tables that a database's own
    functions, rules or views read remain unknown.

    Raises ImproperlyConfigured for a queryset that reads tables which cannot be found out, as
    with raw SQL or a generic foreign key, and TypeError for what is neither queryset nor model.
    """
    match source:
        case type() if issubclass(source, Model):
            return list(_every_row(source))
        case RawQuerySet():
            raise _unseen("raw()")
        case QuerySet():
            return _without_repetition(_of_queryset(source))
        case BaseManager():  # type: ignore[unreachable]  # mypy has not seen every class
            raise TypeError(f"Expected a queryset or a model, not a manager: call {source}.all().")
    raise TypeError(f"Expected a queryset or a model, not {source!r}.")


def _without_repetition(dependencies: Iterable[Dependency]) -> list[Dependency]:
    found: list[Dependency] = []
    for dependency in dependencies:
        if dependency not in found:
            found.append(dependency)
    unconditional = {dependency.model for dependency in found if not dependency.conditions}
    return [each for each in found if not each.conditions or each.model not in unconditional]


def _of_queryset(queryset: QuerySet[Any]) -> Iterator[Dependency]:
    selects = list(_selects(queryset.query, queryset.db))
    for select in selects:
        yield from select.dependencies()
    if selects and queryset._prefetch_related_lookups:  # type: ignore[attr-defined]
        is_combined = bool(queryset.query.combinator)
        yield from _of_prefetches(queryset, {} if is_combined else selects[0].base_conditions)


def _every_row(model: type[Model], conditions: Conditions | None = None) -> Iterator[Dependency]:
    """The rows of the model's table that meet `conditions`, and all rows of its parents'."""
    if model._meta.abstract:
        raise TypeError(f"{model.__name__} is abstract: it has no table.")
    concrete: Any = model._meta.concrete_model
    yield Dependency(concrete, conditions or {})
    for parent in concrete._meta.all_parents:
        yield Dependency(parent)


def _selects(query: Any, using: str, known: Conditions | None = None) -> Iterator[_Select]:
    """Each SELECT of the query, the outer ones first; none that never finds a row.

    `known` holds for each row of the first one's base table.
    """
    query = query.clone()  # What follows completes it.
    parts: Iterable[Any]
    try:
        if query.combinator:
            # Adds to the parts what the whole is ordered by.
            query.get_compiler(using).pre_sql_setup(with_col_aliases=True)
            parts = query.combined_queries
        else:
            select = _Select(query, using, known or {})
            parts = _subqueries(select.expressions)
    except EmptyResultSet:
        return
    if not query.combinator:
        yield select
    for part in parts:
        if query.combinator and query.selected is not None and part.selected is None:
            part.set_values(query.selected)
        yield from _selects(part, using)


_Completed = tuple[dict[str, Any], list[Any]]
# By shape, since it takes as long as all the rest.
_kept: Recent[_Completed] = Recent()


def _completed(query: Any, using: str) -> _Completed:
    """The joins by alias, those for what is selected and ordered by included; and these."""
    shape = shape_of(query, using)
    if shape is not None and (kept := _kept.use(shape)) is not None:
        return kept  # type: ignore[no-any-return]
    compiler = query.get_compiler(using)
    _, order_by, _ = compiler.pre_sql_setup()
    compiler.get_distinct()
    used = query.alias_refcount
    joins = {alias: join for alias, join in query.alias_map.items() if used[alias]}
    expressions = [expression for expression, *_ in (*compiler.select, *order_by)]
    plain = [getattr(each, "expression", each) for each in expressions]
    if shape is not None and all(type(each) is Col for each in plain):
        _kept.keep(shape, (joins, []))
    return joins, expressions


class _Select:
    """One SELECT: which tables it joins, and what the rows of each must meet to matter."""

    def __init__(self, query: Any, using: str, known: Conditions) -> None:
        self._connection = connections[using]
        self._joins, expressions = _completed(query, using)
        self._check_joins(query)
        self.expressions = self._expressions(query, expressions)
        self._models = {alias: _model_of(join.table_name) for alias, join in self._joins.items()}
        self._conditions: dict[str, dict[str, Values]] = {alias: {} for alias in self._joins}
        self._required = {alias for alias, join in self._joins.items() if join.join_type != LOUTER}
        base = next(iter(self._joins))
        self.base_conditions: Conditions = self._conditions[base]
        for column, values in known.items():
            self._narrow(base, column, values)
        self._learn(query.where)
        self._carry_over()

    def dependencies(self) -> Iterator[Dependency]:
        """For each joined table, the rows that can matter."""
        for alias, conditions in self._conditions.items():
            if all(conditions.values()):
                yield Dependency(self._models[alias], conditions)

    def _check_joins(self, query: Any) -> None:
        if query.extra_tables:
            raise _unseen("extra(tables=…)")
        for join in self._joins.values():
            if type(join) not in (BaseTable, Join):
                raise _unseen(type(join).__name__)

    def _expressions(self, query: Any, others: list[Any]) -> list[Any]:
        """Whatever may have a subquery in it."""
        expressions = [query.where, *query.annotations.values(), *others]
        if isinstance(query.group_by, tuple):
            expressions += query.group_by
        for join in self._joins.values():
            if join.filtered_relation:
                expressions.append(join.filtered_relation.resolved_condition)
            if join.parent_alias and not _is_django_s(join.join_field):
                arguments = join.table_alias, join.parent_alias
                expressions.append(join.join_field.get_extra_restriction(*arguments))
        return expressions

    def _learn(self, where: Any) -> None:
        """Narrow the conditions by what each row of the result must meet.

        A condition in HAVING or on a window is none on key columns, so it may stand among them.
        """
        if where.negated or where.connector != AND:
            return
        for child in where.children:
            if isinstance(child, NothingNode):
                raise EmptyResultSet
            if isinstance(child, WhereNode):
                self._learn(child)
            elif isinstance(child, lookups.Lookup):
                for column, values in self._demands(child):
                    self._learn_values(column, values)

    def _demands(self, lookup: Any) -> Iterator[tuple[Any, list[Any]]]:
        """Each column that the lookup compares with constants, and these as the database sees."""
        kind, left, right = type(lookup), lookup.lhs, lookup.rhs
        if kind in _IS_NULL:
            # An outer join makes rows of NULL where there are none.
            if right is True and type(left) is Col and left.alias in self._required:
                yield left, [None]
        elif lookup.rhs_is_direct_value():
            if kind in (TupleExact, TupleIn):
                rows = _without_null([right] if kind is TupleExact else right)
                if any(hasattr(value, "as_sql") for row in rows for value in row):
                    return
                for column, *values in zip(left.get_source_expressions(), *rows, strict=True):
                    prepare = column.output_field.get_db_prep_value
                    yield column, [prepare(value, self._connection) for value in values]
            elif type(left) is not Col:
                return
            elif kind in _IN:
                yield left, self._prepared(lookup, _without_null(right))
            elif kind in _EXACT and right is not None:
                yield left, self._prepared(lookup, right)

    def _prepared(self, lookup: Any, right: Any) -> list[Any]:
        return list(lookup.get_db_prep_lookup(right, self._connection)[1])

    def _learn_values(self, column: Any, values: list[Any]) -> None:
        if type(column) is not Col or column.alias not in self._models or len(values) > MAX_VALUES:
            return
        key = _keys(self._models[column.alias]).get(column.target.column or "")
        if key is None:
            return
        try:
            texts = frozenset(canonical(key, value) for value in values)
        except ValueError:
            return
        self._narrow(column.alias, key.column, texts)
        if None not in texts:
            self._required.add(column.alias)

    def _narrow(self, alias: str, column: str, values: Values) -> bool:
        """Demand one of `values`; return whether that is news."""
        conditions = self._conditions[alias]
        before = conditions.get(column)
        conditions[column] = values if before is None else before & values
        return conditions[column] != before

    def _carry_over(self) -> None:
        """Let the conditions of one side of an equal join hold on the other side, too.

        A joined row matters only where it joins. The other way round, the row that it joins
        may matter without it, unless each row of the result has one (`_required`).
        """
        equal = [
            ((join.parent_alias, left), (alias, right))
            for alias, join in self._joins.items()
            if join.parent_alias
            for left, right in join.join_cols
            if _have_one_kind(self._models[join.parent_alias], left, self._models[alias], right)
        ]
        is_news = True
        while is_news:
            is_news = False
            for parent, child in equal:
                is_news |= self._carry(parent, child)
                if child[0] in self._required:
                    is_news |= self._carry(child, parent)

    def _carry(self, source: tuple[str, str], target: tuple[str, str]) -> bool:
        alias, column = source
        values = self._conditions[alias].get(column)
        return values is not None and None not in values and self._narrow(*target, values)


def _is_django_s(join_field: Any) -> bool:
    """Whether a join on the field has Django's own restrictions: they are without subqueries.

    To ask for those of a generic relation may query the database.
    """
    kind = type(getattr(join_field, "field", join_field))
    return str(kind.get_extra_restriction.__module__).startswith("django.")


def _subqueries(expression: Any) -> Iterator[Query]:
    """The outermost queries within an expression, or a list of some."""
    if type(expression) is Col:
        return
    if isinstance(expression, Query):
        yield expression
    elif isinstance(expression, RawSQL | ExtraWhere):
        raise _unseen("SQL of one's own, as in RawSQL and extra(),")
    elif isinstance(expression, Func) and "select" in _template(expression).lower():
        raise _unseen(f"The template of {type(expression).__name__}")
    elif isinstance(expression, list | tuple):
        for each in expression:
            yield from _subqueries(each)
    elif hasattr(expression, "get_source_expressions"):
        yield from _subqueries(expression.get_source_expressions())
        if isinstance(expression, lookups.Lookup) and expression.rhs_is_direct_value():
            yield from _subqueries(expression.rhs)


def _template(expression: Func) -> str:
    return str(expression.extra.get("template", expression.template))


def _of_prefetches(queryset: Any, conditions: Conditions) -> Iterator[Dependency]:
    """What the queryset prefetches. All its rows meet `conditions`."""
    reached: dict[str, tuple[type[Model], Conditions]] = {}
    pending = normalize_prefetch_lookups(reversed(queryset._prefetch_related_lookups))
    while pending:
        prefetch: Any = pending.pop()
        names = prefetch.prefetch_to.split("__")
        model, known = queryset.model, conditions
        for level, name in enumerate(prefetch.prefetch_through.split("__")):
            path = "__".join(names[: level + 1])
            if path not in reached:
                if level > MAX_PREFETCH_LEVELS:
                    raise _unseen(f"A prefetch of more than {MAX_PREFETCH_LEVELS} levels")
                relation = _Relation.of(model, name, known)
                rows = relation.rows
                if path == prefetch.prefetch_to and prefetch.queryset is not None:
                    rows = prefetch.queryset
                # Not those of `rows`: objects that are already there are not fetched again.
                known = (
                    relation.conditions if rows.model._meta.concrete_model is relation.model else {}
                )
                reached[path] = rows.model, known
                yield from relation.through
                for select in _selects(rows.query, rows.db, known):
                    yield from select.dependencies()
                more = [copy(each) for each in reversed(rows._prefetch_related_lookups)]
                pending += normalize_prefetch_lookups(more, path)
            model, known = reached[path]


@dataclass(frozen=True, slots=True)
class _Relation:
    """Where a prefetch leads from a model's rows."""

    rows: Any
    """The queryset that Django filters, unless the prefetch has its own."""
    model: type[Model] | None = None
    """The one whose rows meet `conditions`."""
    conditions: Conditions = field(default_factory=dict)
    through: tuple[Dependency, ...] = ()

    @classmethod
    def of(cls, model: type[Model], name: str, known: Conditions) -> _Relation:
        """The relation `name` of the model, of which only rows that meet `known` matter."""
        descriptor: Any = getattr(model, name, None)
        match descriptor:
            case related_descriptors.ForwardManyToOneDescriptor():
                rows = descriptor.field.remote_field.model._base_manager.all()
                return cls(rows, *_joined(model, known, descriptor.field.related_fields))
            case related_descriptors.ReverseOneToOneDescriptor():
                related = descriptor.related
                rows = related.related_model._base_manager.all()
                return cls(rows, *_joined(model, known, _reversed(related.field)))
            case related_descriptors.ManyToManyDescriptor():
                through: Any = descriptor.rel.through
                source, target = descriptor.field.m2m_field_name(), descriptor.rel.model
                if descriptor.reverse:
                    source = descriptor.field.m2m_reverse_field_name()
                    target = descriptor.rel.related_model
                link = through._meta.get_field(source)
                owner, conditions = _joined(model, known, _reversed(link))
                every = _every_row(through, conditions if owner is through else {})
                return cls(target._default_manager.all(), through=tuple(every))
            case related_descriptors.ReverseManyToOneDescriptor():
                if not descriptor.field.many_to_one:  # a GenericRelation
                    return cls(descriptor.rel.model._default_manager.all())
                rows = descriptor.rel.related_model._default_manager.all()
                return cls(rows, *_joined(model, known, _reversed(descriptor.field)))
        raise _unseen(f"prefetch_related({name!r}) of {model.__name__}")


def _joined(
    model: type[Model], known: Conditions, pairs: Iterable[tuple[Any, Any]]
) -> tuple[type[Model], Conditions]:
    """The model on the other side of equal fields, and what holds there if `known` holds here."""
    conditions: dict[str, Values] = {}
    other = model
    for here, there in pairs:
        other = there.model
        values = known.get(here.column, frozenset({None}))
        if None in values or here.model != model._meta.concrete_model:
            continue
        if _have_one_kind(here.model, here.column, other, there.column):
            conditions[there.column] = values
    return other, conditions


def _reversed(foreign_key: Any) -> list[tuple[Any, Any]]:
    return [(there, here) for here, there in foreign_key.related_fields]


def _without_null(values: Iterable[Any]) -> list[Any]:
    """The values that can be equal to something. Raises EmptyResultSet if there are none."""
    kept = [v for v in values if v is not None and not (isinstance(v, tuple | list) and None in v)]
    if not kept:
        raise EmptyResultSet
    return kept


@cache
def _keys(model: type[Model]) -> dict[str, Key]:
    return {key.column: key for key in keys_of(model)}


def _have_one_kind(left: type[Model], left_column: str, right: type[Model], column: str) -> bool:
    """Whether both columns are keys, whose values are equal if their texts are."""
    left_key, key = _keys(left).get(left_column), _keys(right).get(column)
    return left_key is not None and key is not None and left_key.kind == key.kind


@cache
def _model_of(table: str) -> type[Model]:
    """The model whose table this is, one that Django manages if it can be."""
    models = [
        model
        for model in apps.get_models(include_auto_created=True)
        if model._meta.db_table == table and not model._meta.proxy
    ]
    if not models:
        raise _unseen(f"A query of {table}, which is no model's table,")
    return max(models, key=lambda model: model._meta.managed)


def _unseen(what: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"{what} may read any table. Name the models themselves in place of the queryset, "
        "as in watch(Note, User)."
    )


def _described(column: str, values: Values) -> str:
    """The condition in words; of many values only the first."""
    if values == {None}:
        return f"{column} is null"
    first = sorted((v for v in values if v is not None), key=lambda v: (len(v), v))[:4]
    if len(first) == 1:
        return f"{column} = {first[0]}"
    if len(first) == 4:
        first[2:] = ["…"]
    return f"{column} in ({', '.join(first)})"
