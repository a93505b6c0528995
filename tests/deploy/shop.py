"""A project in three versions: as it was, with more, and with what nobody uses any more gone."""

import os
import subprocess
import sys
from pathlib import Path

from tests.server import ROOT, Server

FILES = {
    "shop/__init__.py": "",
    "shop/migrations/__init__.py": "",
    "shop_settings.py": """
from settings import *

INSTALLED_APPS = [*INSTALLED_APPS, "shop"]
""",
    "shop_asgi.py": """
from django.core.asgi import get_asgi_application

django = get_asgi_application()

from starlette.routing import Router

from app import LiveGraphQL
from shop.schema import schema

server = LiveGraphQL(schema)
application = Router(
    [*server.graphql("/graphql/"), *server.health(), *server.django(django)],
    lifespan=server.lifespan,
    middleware=server.middleware,
)
""",
    "shop/schema.py": """
from ariadne import MutationType, SubscriptionType, make_executable_schema

from app.database import run
from shop import models
from shop.sdl import SDL

mutation, subscription = MutationType(), SubscriptionType()


def follow(model):
    async def source(_, info):
        rows = model.objects.order_by("pk")
        async for _change in info.context.feed.watch(rows):
            yield await run(list, rows)

    return source


def resolve_yielded(rows, _):
    return rows


@mutation.field("createTicket")
async def create_ticket(_, info, name):
    return await run(models.Ticket.objects.create, name=name)


for field, model in {"tickets": "Ticket", "notes": "Note"}.items():
    if hasattr(models, model):
        subscription.source(field)(follow(getattr(models, model)))
        subscription.field(field)(resolve_yielded)

schema = make_executable_schema(SDL, mutation, subscription)
""",
    "shop/sdl.py": '''
SDL = """
type Query { version: String }
type Mutation { createTicket(name: String!): Ticket }
type Subscription { tickets: [Ticket!]! }
type Ticket { name: String! color: String! }
"""
''',
    "shop/models.py": """
from django.db import models


class Ticket(models.Model):
    name = models.CharField(max_length=20)
    color = models.CharField(max_length=20)
""",
    "shop/migrations/0001_initial.py": """
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = []
    operations = [
        migrations.CreateModel(
            "Ticket",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("name", models.CharField(max_length=20)),
                ("color", models.CharField(max_length=20)),
            ],
        ),
    ]
""",
}
MORE = {
    "shop/sdl.py": '''
SDL = """
type Query { version: String }
type Mutation { createTicket(name: String!): Ticket }
type Subscription { tickets: [Ticket!]! notes: [Note!]! }
type Ticket { name: String! urgent: Boolean! }
type Note { text: String! }
"""
''',
    "shop/models.py": """
from django.db import models


class Team(models.Model):
    name = models.CharField(max_length=20)


class Ticket(models.Model):
    name = models.CharField(max_length=100)
    urgent = models.BooleanField(db_default=False)
    team = models.ForeignKey(Team, models.CASCADE, null=True)


class Note(models.Model):
    text = models.TextField()
""",
    "shop/migrations/0002_expand.py": """
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [
        migrations.CreateModel(
            "Team",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("name", models.CharField(max_length=20)),
            ],
        ),
        migrations.CreateModel(
            "Note",
            [("id", models.BigAutoField(primary_key=True)), ("text", models.TextField())],
        ),
        migrations.AlterField("Ticket", "name", models.CharField(max_length=100)),
        migrations.AddField("Ticket", "urgent", models.BooleanField(db_default=False)),
        migrations.AddField(
            "Ticket", "team", models.ForeignKey("shop.Team", models.CASCADE, null=True)
        ),
        # The new version does not name the column any more, the old one still does.
        migrations.AlterField(
            "Ticket", "color", models.CharField(max_length=20, db_default="")
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.RemoveField("Ticket", "color")]
        ),
    ]
""",
}
LESS = {
    "shop/migrations/0003_contract.py": """
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("shop", "0002_expand")]
    operations = [migrations.RunSQL("ALTER TABLE shop_ticket DROP COLUMN color")]
""",
}
VERSIONS = {"old": FILES, "new": FILES | MORE, "next": FILES | MORE | LESS}


class Version:
    """One version, in a folder of its own, as releases are."""

    def __init__(self, name: str, folder: Path, database_url: str) -> None:
        self._folder = folder / name
        self._log = folder / f"{name}.log"
        self._database_url = database_url
        self._variables = {
            "DEBUG": "true",
            "OPEN_ACCESS": "true",
            "PYTHONPATH": f"{self._folder}{os.pathsep}{ROOT}",
        }
        for path, text in VERSIONS[name].items():
            file = self._folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def server(self, kind: type[Server] | None = None) -> Server:
        """Its server, not yet started."""
        return (kind or ShopServer)(self._log, self._database_url, **self._variables)

    def migrate(self) -> None:
        """Migrate the database as this version wants it."""
        environment = os.environ | self._variables
        environment |= {
            "DATABASE_URL": self._database_url,
            "DJANGO_SETTINGS_MODULE": ShopServer.settings_module,
        }
        subprocess.run(
            [sys.executable, ROOT / "manage.py", "migrate", "--verbosity", "0"],
            cwd=self._folder, env=environment, check=True,
        )  # fmt: skip


class ShopServer(Server):
    """A version's server."""

    application = "shop_asgi:application"
    settings_module = "shop_settings"


class HastyServer(ShopServer):
    """One that is not waited for until it is ready."""

    ready_path = "/health/live"
