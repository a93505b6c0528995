"""Everything the environment decides, and nowhere else; `.env.example` lists the variables."""

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from environs import Env, ValidationError, validate

from app import defaults

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


def limit(name: str) -> float:
    """The package's setting of this name: as in the environment, or its default."""
    default = defaults.LIMITS[name]
    if isinstance(default, int):
        return env.int(name, default, validate=POSITIVE)
    return env.float(name, default, validate=POSITIVE)


# All of what one client may ask for and take up, by variables of the same names.
globals().update({name: limit(name) for name in defaults.LIMITS})

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

INSTALLED_APPS = [
    "app",  # before Django's, whose command runserver it replaces
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
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
AXES_HANDLER = "app.web.sign_in.Failures"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"], "ip_address"]
AXES_FAILURE_LIMIT = limit("SIGN_IN_FAILURES")
AXES_COOLOFF_TIME = timedelta(minutes=limit("SIGN_IN_COOLOFF_MINUTES"))
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


def database(url: str, variable: str = "DATABASE_URL") -> dict[str, Any]:
    """The settings of the database at `url`: SQLite or PostgreSQL, each with what live needs."""
    try:
        config: dict[str, Any] = dict(dj_database_url.parse(url))
    except ValueError:
        raise ImproperlyConfigured(
            f"{variable} is no address of a database. Write sqlite:///PATH or "
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
                f"{variable} must begin with sqlite:// or postgres://, not {came}://."
            )
    return config


DATABASES = {"default": database(DATABASE_URL)}
# Streaming replicas of it, each by its own address, from which subscriptions read.
_REPLICA_URLS: list[str] = env.list("DATABASE_REPLICA_URLS", [])
LIVE_REPLICAS = [f"replica{number}" for number, _ in enumerate(_REPLICA_URLS, 1)]
for _alias, _url in zip(LIVE_REPLICAS, _REPLICA_URLS, strict=True):
    DATABASES[_alias] = database(_url, "DATABASE_REPLICA_URLS") | {"TEST": {"MIRROR": "default"}}
DATABASE_ROUTERS = ["app.ReplicaRouter"] if LIVE_REPLICAS else []
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Where LISTEN works, if that is not DATABASE_URL: it does not through a transaction pooler.
DATABASE_LISTEN_URL = env.str("DATABASE_LISTEN_URL", "")

# GraphQL ------------------------------------------------------------------------------------------

# Lets everybody see and change everything: for demonstrations only.
GRAPHQL_OPEN_ACCESS = env.bool("OPEN_ACCESS", False)
if GRAPHQL_OPEN_ACCESS and not DEBUG:
    raise ImproperlyConfigured(
        "OPEN_ACCESS gives everybody everybody's data, so it needs DEBUG=true as well. "
        "Unset OPEN_ACCESS in production."
    )

# Other origins whose pages may use the API with the viewer's cookies, as https://example.org.
_ORIGINS: list[str] = env.list("CORS_ALLOWED_ORIGINS", [])
GRAPHQL_ALLOWED_ORIGINS = [origin.rstrip("/") for origin in _ORIGINS]
if wrong := [each for each in GRAPHQL_ALLOWED_ORIGINS if not defaults.is_origin(each)]:
    raise ImproperlyConfigured(
        f"CORS_ALLOWED_ORIGINS must list origins as https://example.org, but has {wrong}. "
        "Each of them may use the API with the viewer's cookies, so there is no wildcard."
    )

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
# A file with all documents that clients may ask for; empty: they may ask for any.
GRAPHQL_TRUSTED_DOCUMENTS = env.str("GRAPHQL_TRUSTED_DOCUMENTS", "")
if GRAPHQL_TRUSTED_DOCUMENTS:
    GRAPHQL_TRUSTED_DOCUMENTS = str(BASE_DIR / GRAPHQL_TRUSTED_DOCUMENTS)
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
