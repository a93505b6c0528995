"""Django's SQL compilers, of which the one for SELECT compiles queries of one shape once.

What a query looks like apart from the values in its conditions is its *shape*. Django needs more
time to turn a queryset into SQL than PostgreSQL does to answer; for a shape that was compiled
before, only the values are prepared anew, by Django's own lookups, in the order in which their
placeholders stand. What is not understood is compiled by Django, as ever.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import NoneType
from typing import Any, Final, TypeVar

from django.db.backends.postgresql import compiler
from django.db.models import lookups
from django.db.models.constants import LOOKUP_SEP
from django.db.models.expressions import Col, Ref, Value
from django.db.models.fields import related_lookups
from django.db.models.fields.related import ForeignObject
from django.db.models.fields.reverse_related import ForeignObjectRel
from django.db.models.sql.datastructures import BaseTable, Join
from django.db.models.sql.query import Query
from django.db.models.sql.where import WhereNode
from django.utils import timezone
from django.utils.translation import get_language

SQLInsertCompiler = compiler.SQLInsertCompiler
SQLDeleteCompiler = compiler.SQLDeleteCompiler
SQLUpdateCompiler = compiler.SQLUpdateCompiler
SQLAggregateCompiler = compiler.SQLAggregateCompiler

MAX_SHAPES = 1000
"""The shapes that are kept; then the oldest goes."""

# These very classes write `column operator placeholders`, whatever the values: a subclass may not.
_LOOKUPS = {
    lookups.Exact,
    lookups.IExact,
    lookups.GreaterThan,
    lookups.GreaterThanOrEqual,
    lookups.LessThan,
    lookups.LessThanOrEqual,
    lookups.IntegerFieldExact,
    lookups.IntegerGreaterThan,
    lookups.IntegerGreaterThanOrEqual,
    lookups.IntegerLessThan,
    lookups.IntegerLessThanOrEqual,
    lookups.In,
    lookups.Contains,
    lookups.IContains,
    lookups.StartsWith,
    lookups.IStartsWith,
    lookups.EndsWith,
    lookups.IEndsWith,
    lookups.Range,
    related_lookups.RelatedExact,
    related_lookups.RelatedIn,
    related_lookups.RelatedLessThan,
    related_lookups.RelatedGreaterThan,
    related_lookups.RelatedLessThanOrEqual,
    related_lookups.RelatedGreaterThanOrEqual,
}
_IS_NULL = {lookups.IsNull, related_lookups.RelatedIsNull}

# What else says how the SQL looks, and is compared as it is.
_SAME = (
    "alias_prefix",
    "default_cols",
    "default_ordering",
    "standard_ordering",
    "low_mark",
    "high_mark",
    "distinct",
    "distinct_fields",
    "max_depth",
    "values_select",
)
# What makes a query one that Django compiles.
_EMPTY = (
    "extra",
    "_filtered_relations",
    "external_aliases",
    "subquery",
    "combinator",
    "combined_queries",
    "select_for_update",
    "extra_tables",
    "extra_order_by",
    "explain_info",
    "extra_select_mask",
)
# What a compiler holds when it has compiled, and the iteration over rows needs.
_RESULTS = ("select", "klass_info", "annotation_col_map", "col_count", "has_extra_select")


class Unknown(Exception):  # noqa: N818 - not an error
    """The query is none of those whose shape is understood."""


T = TypeVar("T")
_NEW: Final = object()


class Recent(dict[Hashable, T]):
    """The `MAX_SHAPES` entries that were used last, the latest at the end. Threads may share it."""

    def use(self, key: Hashable, default: Any = None) -> Any:
        """Return the value, and keep it for longer; `default` if there is none."""
        value = self.pop(key, default)
        if value is not default:
            self[key] = value
        return value

    def keep(self, key: Hashable, value: T) -> None:
        """Keep the value in place of the oldest."""
        with suppress(RuntimeError, StopIteration):  # of another thread that does so, too
            while len(self) >= MAX_SHAPES:
                self.pop(next(iter(self)), None)
        self[key] = value


@dataclass(frozen=True, slots=True)
class Compiled:
    """The SQL of a shape, and what its compiler had found out."""

    sql: str
    first: tuple[Any, ...]
    """The parameters before those of the conditions: they belong to the shape."""
    results: tuple[Any, ...]
    annotations: tuple[Any, ...]
    """Those whose ids are in the shape, so that no others have these ids."""


class SQLCompiler(compiler.SQLCompiler):
    """Compiles a SELECT, unless one of the same shape has been compiled before."""

    elide_empty: bool

    shapes: Recent[Compiled | None] = Recent()
    """By shape; None for one that Django compiles."""
    shapes_of_objects: Recent[Compiled | None] = Recent()
    """Those with annotations, known by their ids: many may be made for one query only."""

    def as_sql(
        self, with_limits: bool = True, with_col_aliases: bool = False
    ) -> tuple[str, tuple[Any, ...]]:
        """Return SQL and parameters, as Django's."""
        is_kept = self.connection.settings_dict.get("KEEP_COMPILED_SQL", True)
        if not (is_kept and with_limits and not with_col_aliases and type(self.query) is Query):
            return super().as_sql(with_limits, with_col_aliases)
        parameters: list[Any] = []
        try:
            shape = (self.using, self.elide_empty, _shape(self, parameters))
            shapes = self.shapes_of_objects if _has_objects(self.query) else self.shapes
            compiled = shapes.use(shape, _NEW)
        except Exception:
            # Unknown, or what no key can be made of, or what Django tells in its own way.
            return super().as_sql()
        if compiled is _NEW:
            return self._compile(shapes, shape, parameters)
        if compiled is None:
            return super().as_sql()
        for name, value in zip(_RESULTS, compiled.results, strict=True):
            setattr(self, name, value)
        self.query.get_initial_alias()  # as compiling does
        return compiled.sql, (*compiled.first, *parameters)

    def get_order_by(self) -> Any:
        """Return what Django makes of the ordering, and note it."""
        self.ordering: list[Any] = super().get_order_by()
        return self.ordering

    def _compile(
        self, shapes: Recent[Compiled | None], shape: Hashable, parameters: list[Any]
    ) -> tuple[str, tuple[Any, ...]]:
        sql, found = super().as_sql()
        results = tuple(getattr(self, name) for name in _RESULTS)
        count = len(found) - len(parameters)
        first, last = found[:count], found[count:]
        compiled = Compiled(sql, tuple(first), results, tuple(self.query.annotations.values()))
        # Where other parameters follow, or in another order, it is left to Django from now on.
        is_known = _are_equal(last, parameters) and not self._has_expressions()
        shapes.keep(shape, compiled if is_known else None)
        return sql, found

    def _has_expressions(self) -> bool:
        """Whether joins, or the ordering, hold conditions or expressions of their own.

        They may have parameters, which follow those of the conditions, or write what holds for the
        moment only, such as the time zone.
        """
        ordered_by = [type(each.expression) for each, _ in self.ordering]
        return any(map(_is_restricted, self._joins())) or not {Col, Ref}.issuperset(ordered_by)

    def _joins(self) -> Iterator[Any]:
        for table in self.query.alias_map.values():
            if isinstance(table, Join):
                yield table.join_field


def shape_of(query: Query, using: str) -> Hashable:
    """What a SELECT on the database `using` looks like apart from values, or None if unknown."""
    if type(query) is not Query or _has_objects(query):
        return None
    try:
        return using, _shape(query.get_compiler(using), [])
    except Exception:  # Unknown, or what preparing a value raises
        return None


def _shape(compiler: Any, parameters: list[Any]) -> Hashable:
    """What the SQL depends on besides the values, which are added to `parameters`.

    Raises Unknown, and what preparing a value raises.
    """
    query: Any = compiler.query
    is_plain = query.model is not None and query.group_by is None
    if not is_plain or any(getattr(query, name) for name in _EMPTY):
        raise Unknown
    ordering = (*query.order_by, *(query.model._meta.ordering or ()))
    if not all(type(each) is str for each in ordering):
        raise Unknown
    if any(LOOKUP_SEP in each for each in query.distinct_fields):
        raise Unknown  # perhaps a transformation
    return (
        query.model,
        ordering,
        tuple(getattr(query, name) for name in _SAME),
        tuple(_tables(query)),
        tuple(map(_column, query.select)),
        _annotations(query.annotations),
        None if (mask := query.annotation_select_mask) is None else tuple(mask),
        None if query.selected is None else tuple(query.selected.items()),
        (frozenset(query.deferred_loading[0]), query.deferred_loading[1]),
        _frozen(query.select_related),
        _conditions(query.where, compiler, parameters),
    )


def _tables(query: Any) -> Iterator[Hashable]:
    for alias, table in query.alias_map.items():
        is_used = query.alias_refcount[alias] > 0  # else it is left out of FROM
        if type(table) is BaseTable:
            yield alias, is_used, table.table_name
        elif type(table) is Join and table.filtered_relation is None:
            yield alias, is_used, table.identity, table.join_type, table.nullable
        else:
            raise Unknown


def _is_restricted(join_field: Any) -> bool:
    """Whether a condition of the field's own, which may be another each time, is in the join."""
    field = join_field.field if isinstance(join_field, ForeignObjectRel) else join_field
    own = getattr(type(field), "get_extra_restriction", None)
    return own is not ForeignObject.get_extra_restriction


def _annotations(annotations: dict[str, Any]) -> Hashable:
    if not annotations:
        return ()
    # Functions of dates write the current time zone into the SQL.
    state = timezone.get_current_timezone_name(), get_language()
    return state, tuple((name, _annotation(each)) for name, each in annotations.items())


def _annotation(expression: Any) -> Hashable:
    if type(expression) is Col:
        return _column(expression)
    if _is_plain_value(expression):
        return type(expression.value), expression.value
    if expression.contains_aggregate or expression.contains_over_clause:
        raise Unknown
    return id(expression)


def _is_plain_value(expression: Any) -> bool:
    """Whether it is `Value(1)`, say, as `exists()` makes them anew, without a field of its own."""
    arguments, options = getattr(expression, "_constructor_args", ((), {}))
    # Equal values of other types, such as decimals, may be written differently.
    is_known = type(expression) is Value and type(expression.value) in (int, bool, str, NoneType)
    return is_known and len(arguments) == 1 and not options


def _has_objects(query: Any) -> bool:
    return not all(
        type(each) is Col or _is_plain_value(each) for each in query.annotations.values()
    )


def _column(expression: Any) -> Hashable:
    if type(expression) is not Col:
        raise Unknown
    return expression.alias, expression.target, expression.output_field


def _conditions(node: Any, compiler: SQLCompiler, parameters: list[Any]) -> Hashable:
    if type(node) is WhereNode:
        children = tuple(_conditions(each, compiler, parameters) for each in node.children)
        return node.connector, node.negated, children
    kind = type(node)
    if kind in _IS_NULL and type(node.rhs) is bool:
        return kind, _column(node.lhs), node.rhs
    if kind not in _LOOKUPS or node.bilateral_transforms or not node.rhs_is_direct_value():
        raise Unknown
    # A boolean may stand in the SQL itself.
    value = node.rhs if isinstance(node.rhs, bool) else None
    sql, found = node.process_rhs(compiler, compiler.connection)
    parameters += found
    return kind, _column(node.lhs), sql if isinstance(sql, str) else tuple(sql), value


def _frozen(select_related: Any) -> Hashable:
    if isinstance(select_related, dict):
        return tuple((name, _frozen(each)) for name, each in select_related.items())
    return bool(select_related)


def _are_equal(some: Sequence[Any], others: Sequence[Any]) -> bool:
    return len(some) == len(others) and all(
        type(a) is type(b) and (a is b or a == b) for a, b in zip(some, others, strict=True)
    )
