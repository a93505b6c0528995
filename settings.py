"""Everything the environment decides, and nowhere else; `.env.example` lists the variables."""

import logging
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from environs import Env, ValidationError, validate

BASE_DIR = Path(__file__).resolve().parent

env = Env()
env.read_env(env.path("ENV_FILE", BASE_DIR / ".env"), recurse=False)


def check_time_zone(name: str) -> None:
    """Raise ValidationError if there is no time zone of this name."""
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # unknown, a folder, or no name at all
        raise ValidationError(f"There is no time zone {name}.") from None


POSITIVE = validate.Range(
    min=0, min_inclusive=False, error="It must be greater than 0, but is {input}."
)

# Core ---------------------------------------------------------------------------------------------

DEBUG = env.bool("DEBUG", False)
SECRET_KEY = env.str("SECRET_KEY", "") or ("only-for-development" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. Off DEBUG it must be a long random string that only this "
        'deployment knows: python -c "import secrets; print(secrets.token_urlsafe(50))" makes one. '
        "Set DEBUG=true instead to try things out."
    )
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", [])

# Whether browsers reach the site by HTTPS, as they must where people sign in. The scheme comes
# from uvicorn, which believes X-Forwarded-Proto of the proxies named in FORWARDED_ALLOW_IPS.
HTTPS = env.bool("HTTPS", not DEBUG)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = (
    env.int("SECURE_HSTS_SECONDS", 3600, validate=validate.Range(min=0)) if HTTPS else 0
)
# Probes come past the proxy.
SECURE_REDIRECT_EXEMPT = ["^health/", "^metrics$"]
# Whether other subdomains are on HTTPS too, only the domain's owner knows.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

# Of a request to Django's views, files included. What forms may have without, Django limits itself.
MAX_BODY_BYTES = env.int("MAX_BODY_BYTES", 2_621_440, validate=POSITIVE)

# What uvicorn lets a client do, if it was started with `--http app.web.protocol:LimitedHTTP`.
HTTP_HEAD_SECONDS = env.float("HTTP_HEAD_SECONDS", 10.0, validate=POSITIVE)
HTTP_BODY_SECONDS = env.float("HTTP_BODY_SECONDS", 30.0, validate=POSITIVE)
HTTP_SEND_SECONDS = env.float("HTTP_SEND_SECONDS", 20.0, validate=POSITIVE)
HTTP_MAX_HEAD_BYTES = env.int("HTTP_MAX_HEAD_BYTES", 32 * 1024, validate=POSITIVE)
HTTP_MAX_CONNECTIONS_PER_ADDRESS = env.int(
    "HTTP_MAX_CONNECTIONS_PER_ADDRESS", 100, validate=POSITIVE
)

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "app",
    "orders",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "app.web.urls"
LOGIN_URL = "/login/"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Signing in ---------------------------------------------------------------------------------------

AUTHENTICATION_BACKENDS = [
    "app.web.sign_in.Guard",  # first, since it spares the others the work
    "django.contrib.auth.backends.ModelBackend",
]
SIGN_IN_FAILURES = env.int("SIGN_IN_FAILURES", 5, validate=POSITIVE)
SIGN_IN_ADDRESS_FAILURES = env.int("SIGN_IN_ADDRESS_FAILURES", 50, validate=POSITIVE)
SIGN_IN_COOLOFF_MINUTES = env.float("SIGN_IN_COOLOFF_MINUTES", 15.0, validate=POSITIVE)

AXES_HANDLER = "app.web.sign_in.Failures"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"], "ip_address"]
AXES_FAILURE_LIMIT = SIGN_IN_FAILURES
AXES_COOLOFF_TIME = timedelta(minutes=SIGN_IN_COOLOFF_MINUTES)
AXES_USERNAME_FORM_FIELD = "username"  # as Django's form names it, whatever the user model does
AXES_USERNAME_CALLABLE = "app.web.sign_in.name_of"
AXES_CLIENT_IP_CALLABLE = "app.web.sign_in.address_of"
AXES_LOCKOUT_CALLABLE = "app.web.sign_in.refuse"
AXES_RESET_ON_SUCCESS = True
# What is refused is not written down, or refusing would be work, and last for ever.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_DISABLE_ACCESS_LOG = True  # which would keep who signed in when and where

# Database -----------------------------------------------------------------------------------------

DATABASE_URL = env.str("DATABASE_URL", "") or "sqlite:///db.sqlite3"
DATABASE_POOL_SIZE = env.int("DATABASE_POOL_SIZE", 8, validate=POSITIVE)
# A pooler in transaction mode lends another connection for each step of a cursor.
DISABLE_SERVER_SIDE_CURSORS = env.bool("DISABLE_SERVER_SIDE_CURSORS", False)
# Whether a query that looks like an earlier one, apart from its values, is not compiled again.
KEEP_COMPILED_SQL = env.bool("KEEP_COMPILED_SQL", True)


def database(url: str) -> dict[str, Any]:
    """The settings of the database at `url`: SQLite or PostgreSQL, each with what live needs."""
    try:
        config: dict[str, Any] = dict(dj_database_url.parse(url))
    except ValueError:
        raise ImproperlyConfigured(
            "DATABASE_URL is no address of a database. Write sqlite:///PATH or "
            "postgres://USER:PASSWORD@HOST:PORT/NAME, with special characters percent-encoded."
        ) from None
    options = config.setdefault("OPTIONS", {})
    match config["ENGINE"]:
        case "django.db.backends.sqlite3":
            if config["NAME"] != ":memory:":
                config["NAME"] = str(BASE_DIR / config["NAME"])
            options["transaction_mode"] = "IMMEDIATE"
            options["timeout"] = 5
            options["init_command"] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
        case "django.db.backends.postgresql":
            config["ENGINE"] = "app.database"
            options["pool"] = {"min_size": 0, "max_size": DATABASE_POOL_SIZE, "timeout": 5}
            config["CONN_HEALTH_CHECKS"] = True
            config["DISABLE_SERVER_SIDE_CURSORS"] = DISABLE_SERVER_SIDE_CURSORS
            config["KEEP_COMPILED_SQL"] = KEEP_COMPILED_SQL
        case _:
            came = urlsplit(url).scheme
            raise ImproperlyConfigured(
                f"DATABASE_URL must begin with sqlite:// or postgres://, not {came}://."
            )
    return config


DATABASES = {"default": database(DATABASE_URL)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The tables whose changes reach subscribers; what a subscription reads must be among them.
LIVE_MODELS = ["orders.Order", "auth.User"]

# The tables that say who is signed in and who may do what: after a change there, connections of
# viewers whom it concerns are closed, and come back with the rights they have then.
VIEWER_MODELS = [
    "auth.User",
    "auth.User_groups",
    "auth.User_user_permissions",
    "auth.Group_permissions",
    "sessions.Session",
]
LIVE_MODELS += [name for name in VIEWER_MODELS if name not in LIVE_MODELS]

# Where LISTEN works, if that is not DATABASE_URL: it does not through a transaction pooler.
DATABASE_LISTEN_URL = env.str("DATABASE_LISTEN_URL", "")

# GraphQL ------------------------------------------------------------------------------------------

# Lets everybody see and change everything: for demonstrations only.
OPEN_ACCESS = env.bool("OPEN_ACCESS", False)
if OPEN_ACCESS and not DEBUG:
    raise ImproperlyConfigured(
        "OPEN_ACCESS gives everybody everybody's data, so it needs DEBUG=true as well. "
        "Unset OPEN_ACCESS in production."
    )

# Other origins whose pages may use the API with the viewer's cookies, as https://example.org.
CORS_ALLOWED_ORIGINS: list[str] = env.list("CORS_ALLOWED_ORIGINS", [])
CORS_ALLOWED_ORIGINS = [origin.rstrip("/") for origin in CORS_ALLOWED_ORIGINS]
if wrong := [each for each in CORS_ALLOWED_ORIGINS if not re.fullmatch(r"https?://[^/*]+", each)]:
    raise ImproperlyConfigured(
        f"CORS_ALLOWED_ORIGINS must list origins as https://example.org, but has {wrong}. "
        "Each of them may use the API with the viewer's cookies, so there is no wildcard."
    )

GRAPHQL_MAX_MESSAGE_BYTES = env.int("GRAPHQL_MAX_MESSAGE_BYTES", 256 * 1024, validate=POSITIVE)
GRAPHQL_MAX_DOCUMENT_CHARACTERS = env.int(
    "GRAPHQL_MAX_DOCUMENT_CHARACTERS", 32 * 1024, validate=POSITIVE
)
GRAPHQL_MAX_DOCUMENT_TOKENS = env.int("GRAPHQL_MAX_DOCUMENT_TOKENS", 1000, validate=POSITIVE)
GRAPHQL_MAX_DOCUMENT_DEPTH = env.int("GRAPHQL_MAX_DOCUMENT_DEPTH", 20, validate=POSITIVE)
GRAPHQL_MAX_DOCUMENT_FIELDS = env.int("GRAPHQL_MAX_DOCUMENT_FIELDS", 500, validate=POSITIVE)
GRAPHQL_MAX_RESULT_FIELDS = env.int("GRAPHQL_MAX_RESULT_FIELDS", 10_000, validate=POSITIVE)
GRAPHQL_MAX_RESULT_BYTES = env.int("GRAPHQL_MAX_RESULT_BYTES", 1024 * 1024, validate=POSITIVE)
GRAPHQL_MAX_CACHED_DOCUMENTS = env.int("GRAPHQL_MAX_CACHED_DOCUMENTS", 500, validate=POSITIVE)
GRAPHQL_MAX_CONNECTIONS = env.int("GRAPHQL_MAX_CONNECTIONS", 20_000, validate=POSITIVE)
GRAPHQL_MAX_CONNECTIONS_PER_VIEWER = env.int(
    "GRAPHQL_MAX_CONNECTIONS_PER_VIEWER", 100, validate=POSITIVE
)
GRAPHQL_MAX_SOURCES = env.int("GRAPHQL_MAX_SOURCES", 10_000, validate=POSITIVE)
GRAPHQL_MAX_SUBSCRIPTIONS_PER_VIEWER = env.int(
    "GRAPHQL_MAX_SUBSCRIPTIONS_PER_VIEWER", 100, validate=POSITIVE
)
GRAPHQL_MAX_COST_PER_VIEWER = env.int("GRAPHQL_MAX_COST_PER_VIEWER", 50_000, validate=POSITIVE)
GRAPHQL_MAX_OPERATIONS = env.int("GRAPHQL_MAX_OPERATIONS", 100, validate=POSITIVE)
GRAPHQL_MAX_OPERATIONS_PER_VIEWER = env.int(
    "GRAPHQL_MAX_OPERATIONS_PER_VIEWER", 300, validate=POSITIVE
)
GRAPHQL_CONNECTION_INIT_SECONDS = env.float(
    "GRAPHQL_CONNECTION_INIT_SECONDS", 10.0, validate=POSITIVE
)
GRAPHQL_PING_SECONDS = env.float("GRAPHQL_PING_SECONDS", 25.0, validate=POSITIVE)
GRAPHQL_PONG_SECONDS = env.float("GRAPHQL_PONG_SECONDS", 10.0, validate=POSITIVE)
GRAPHQL_SEND_SECONDS = env.float("GRAPHQL_SEND_SECONDS", 20.0, validate=POSITIVE)

# Language and time --------------------------------------------------------------------------------

LANGUAGE_CODE = "en-us"
TIME_ZONE = env.str("TIME_ZONE", "UTC", validate=check_time_zone)
USE_TZ = True

# Static files -------------------------------------------------------------------------------------

STATIC_URL = "/static/"

# Pages --------------------------------------------------------------------------------------------

# The live board at /, and GraphiQL for browsers at /graphql/: for development, unless asked for.
BOARD = env.bool("BOARD", DEBUG)
PLAYGROUND = env.bool("PLAYGROUND", DEBUG)
# The playground asks for the schema; what else does, has a copy of it.
GRAPHQL_INTROSPECTION = env.bool("GRAPHQL_INTROSPECTION", PLAYGROUND)
PAGES_DIR = BASE_DIR / "frontend" / "dist"
ICON = BASE_DIR / "frontend" / "src" / "icon.svg"

# Without the board there is nothing at /.
LOGIN_REDIRECT_URL = env.str("LOGIN_REDIRECT_URL", "") or ("/" if BOARD else "/admin/")
LOGOUT_REDIRECT_URL = "/" if BOARD else LOGIN_URL

# Metrics ------------------------------------------------------------------------------------------

# Whether /metrics tells whoever can reach it how much the server has to do.
METRICS = env.bool("METRICS", False)
# Where the workers of one server count together; empty: a folder of its own among temporary files.
PROMETHEUS_MULTIPROC_DIR = env.str("PROMETHEUS_MULTIPROC_DIR", "")

# Logging ------------------------------------------------------------------------------------------

LOG_LEVEL = env.log_level("LOG_LEVEL", logging.INFO)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "filters": {
        "client_faults": {"()": "app.web.logs.ClientFaults"},
        "refusals": {"()": "app.web.logs.Refusals"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        **{name: {"level": LOG_LEVEL} for name in ("app", "orders", "django")},
        "uvicorn.error": {"filters": ["client_faults"]},
        "django.request": {"filters": ["refusals"]},
        # It has lines for each try; `app.web.sign_in` has one for who has to wait.
        "axes": {"level": "CRITICAL"},
    },
}
