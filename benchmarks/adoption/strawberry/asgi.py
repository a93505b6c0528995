"""GraphQL and Django, side by side."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.adoption.strawberry.settings")
django = get_asgi_application()  # Models can be imported from here on.

from strawberry_django.routers import AuthGraphQLProtocolTypeRouter  # noqa: E402

from benchmarks.adoption.strawberry.schema import schema  # noqa: E402

application = AuthGraphQLProtocolTypeRouter(schema, django_application=django)
