"""What an execution leaves behind."""

import gc
from typing import Any

import pytest
from graphql import build_schema, execute_subscription_event, parse
from graphql.execution.collect_fields import CollectedFields

from app.graphql.executor import BoundedExecutor

pytestmark = pytest.mark.once

SCHEMA = build_schema("""
    type Query { orders: [Order!]! }
    type Subscription { orders: [Order!]! }
    type Order { id: ID!, user: User! }
    type User { name: String! }
""")
EVENT = {"orders": [{"id": str(number), "user": {"name": "Ada"}} for number in range(3)]}


def remembered() -> int:
    """How many selections of fields are kept in memory."""
    gc.collect()
    return sum(type(each) is CollectedFields for each in gc.get_objects())


def test_subscription_does_not_grow_with_its_events() -> None:
    document = parse("subscription { orders { id user { name } } }")
    executor: Any = BoundedExecutor.build(SCHEMA, document)
    after = []
    for _ in range(20):
        result: Any = execute_subscription_event(executor.build_per_event_executor(EVENT))
        assert result.data == EVENT
        del result
        after.append(remembered())
    assert after[-1] == after[0]
