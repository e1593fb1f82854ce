"""The web processes: `api` and `console`, told apart by CODESPAR_SERVICE."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "codespar.settings")

application = get_wsgi_application()

# Hints go to the dispatcher through the Celery application, which becomes the current one by being imported.
from codespar.celery import app as celery  # noqa: E402

__all__ = ["application", "celery"]
