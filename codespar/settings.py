"""Django's settings, all derived from `codespar.config`."""

from pathlib import Path

from codespar import config

CONFIG = config.load()
BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = CONFIG.secret_key
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = f"codespar.urls.{CONFIG.service}"
WSGI_APPLICATION = "codespar.wsgi.application"
DATABASES = {"default": CONFIG.database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "identity.Member"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = False
APPEND_SLASH = False
# JSON bodies only, and small: a mandate presentation is the largest thing that anybody sends.
DATA_UPLOAD_MAX_MEMORY_SIZE = 262_144

INSTALLED_APPS = [
    # The pages are the console's alone; the agents' service does not even have their code.
    *(["unfold", "django.contrib.admin"] if CONFIG.service == "console" else []),
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_otp",
    "rest_framework",
    "drf_spectacular",
    "ledger",
    "codespar.vault",
    "codespar.identity",
    "wallets",
    "mandates",
    "rails",
    "codespar.alerts",
    "codespar.audit",
]
# The ledger is the log of who did what: the admin writes nothing, so its own log has no table.
MIGRATION_MODULES = {"admin": None}
# An e-mail address is unique in its organisation; the log-in backend handles a person of several.
SILENCED_SYSTEM_CHECKS = ["auth.W004"]

_CONSOLE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    # Last: it asks who is logged in, and what it wraps is the view and the rendering of its page.
    "codespar.console.middleware.MemberTenant",
]
MIDDLEWARE = [
    "codespar.rest.middleware.RequestId",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    *(_CONSOLE if CONFIG.service == "console" else []),
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "codespar" / "console" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTHENTICATION_BACKENDS = ["codespar.identity.login.MemberBackend"]
SESSION_COOKIE_NAME = "codespar_console"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Strict"
SESSION_COOKIE_AGE = 8 * 3600
SESSION_COOKIE_SECURE = CONFIG.console_url.startswith("https://")
CSRF_COOKIE_SAMESITE = "Strict"
CSRF_COOKIE_SECURE = SESSION_COOKIE_SECURE
# The proxy speaks TLS and we do not: without this a form posted over TLS looks as if it came from another place.
CSRF_TRUSTED_ORIGINS = [CONFIG.console_origin]
LOGIN_URL = "/admin/login/"
OTP_TOTP_ISSUER = "codespar"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# The theme's widgets (Alpine) evaluate expressions that stand in its attributes, and its colours are one inline style;
# no script is inline, and nothing is loaded from elsewhere.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'", "'unsafe-eval'"],
        "style-src": ["'self'", "'unsafe-inline'"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'self'"],
        "form-action": ["'self'"],
    }
}
STATIC_URL = "/static/"
STORAGES = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = False

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["codespar.identity.authentication.AccessToken"],
    "DEFAULT_PERMISSION_CLASSES": ["codespar.identity.permissions.HasScope"],
    "DEFAULT_THROTTLE_CLASSES": ["codespar.identity.throttles.PerToken"],
    "DEFAULT_PARSER_CLASSES": ["codespar.rest.parsers.StrictJSON"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "codespar.rest.openapi.Schema",
    "EXCEPTION_HANDLER": "codespar.problems.handler",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "codespar",
    "DESCRIPTION": "The engine between a software agent and the money.",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_ADD_EXPLICIT_BLANK_NULL_CHOICE": False,
    "POSTPROCESSING_HOOKS": [],
    "DISABLE_ERRORS_AND_WARNINGS": False,
}

CELERY_BROKER_URL = CONFIG.redis_url
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 60, "socket_connect_timeout": 2, "socket_timeout": 5}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ACKS_LATE = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# Whoever reaches the broker can put tasks on it, which do what they always do, but cannot stop or change a worker.
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_TASK_ROUTES = {"rails.tasks.*": {"queue": "rail"}}

LOGGING_CONFIG = "codespar.logs.configure"
LOGGING = {"version": 1}
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E"
    "%3Crect width='32' height='32' rx='8' fill='%231d4ed8'/%3E"
    "%3Cpath d='M21 12a6 6 0 1 0 0 8' fill='none' stroke='white' stroke-width='4' stroke-linecap='round'/%3E%3C/svg%3E"
)
UNFOLD = {
    "SITE_TITLE": "codespar",
    "SITE_HEADER": "codespar",
    "SITE_SUBHEADER": "console",
    "SITE_SYMBOL": "verified_user",
    "SITE_URL": None,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": _ICON}],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "SIDEBAR": {"show_search": True, "command_search": True, "navigation": "codespar.console.navigation.groups"},
    "COMMAND": {"search_callback": "codespar.console.site.find"},
    "COLORS": {
        "primary": {
            "50": "oklch(97% .014 254.6)",
            "100": "oklch(93.2% .032 255.6)",
            "200": "oklch(88.2% .059 254.1)",
            "300": "oklch(80.9% .105 251.8)",
            "400": "oklch(70.7% .165 254.6)",
            "500": "oklch(62.3% .214 259.8)",
            "600": "oklch(54.6% .245 262.9)",
            "700": "oklch(48.8% .243 264.4)",
            "800": "oklch(42.4% .199 265.6)",
            "900": "oklch(37.9% .146 265.5)",
            "950": "oklch(28.2% .091 267.9)",
        }
    },
}
