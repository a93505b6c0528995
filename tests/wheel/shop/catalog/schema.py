"""What can be asked and followed."""

from ariadne import QueryType, SubscriptionType, make_executable_schema
from live_graphql.database.calls import run

from catalog.models import Product

query = QueryType()
subscription = SubscriptionType()


@query.field("products")
async def products(*_):
    """All products, by name."""
    return await run(list, Product.objects.order_by("name"))


@subscription.source("products")
async def live_products(_, info):
    """The same, whenever somebody has changed one."""
    async for _change in info.context.feed.watch(Product):
        yield await run(list, Product.objects.order_by("name"))


@subscription.field("products")
def yielded(products, _):
    """What the source has yielded."""
    return products


schema = make_executable_schema(
    """
    type Product { name: String! price: Int! }
    type Query { products: [Product!]! }
    type Subscription { products: [Product!]! }
    """,
    [query, subscription],
)
