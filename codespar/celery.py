"""The Celery application: dispatcher (queue `rail`), worker (queue `default`) and beat."""

import os

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "codespar.settings")

import django

django.setup()

from codespar import logs  # noqa: E402
from rails.sweeper import Sweeper  # noqa: E402

app = Celery("codespar")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.steps["worker"].add(Sweeper)
app.conf.beat_schedule = {
    "seal": {"task": "codespar.audit.tasks.seal", "schedule": 5.0, "options": {"expires": 10}},
    "notices": {"task": "rails.tasks.notices", "schedule": 2.0, "options": {"expires": 5, "queue": "rail"}},
}


@setup_logging.connect
def _configure(**_: object) -> None:
    """Celery's logs are the project's logs."""
    logs.configure()
