"""The Celery application: dispatcher (queue `rail`), worker (queue `default`) and beat."""

import os

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "codespar.settings")

import django

django.setup()

from codespar import logs  # noqa: E402
from codespar.alerts.sender import Sender  # noqa: E402
from rails import driver  # noqa: E402, F401  # starts in the dispatcher's processes
from rails.adapters import ADAPTERS  # noqa: E402
from rails.sweeper import Sweeper  # noqa: E402

app = Celery("codespar")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
# Celery would close all connections of the process after each task, the driver's too: whoever uses one gives it back itself.
app.conf.CELERY_DB_REUSE_MAX = 10**9
app.steps["worker"].update((Sweeper, Sender))
# A look at a statement may wait behind notices for its whole minute: what was thrown away sooner would never come to its turn while there
# is much to do. One that comes when nothing is due any more does nothing.
app.conf.beat_schedule = {
    "seal": {"task": "codespar.audit.tasks.seal", "schedule": 5.0, "options": {"expires": 10}},
    **{
        f"reconcile-{rail}": {
            "task": "rails.tasks.reconcile",
            "schedule": 5.0,
            "args": (rail,),
            "options": {"expires": 60, "queue": "rail"},
        }
        for rail in ADAPTERS
    },
    "notices": {"task": "rails.tasks.notices", "schedule": 2.0, "options": {"expires": 5, "queue": "rail"}},
}


@setup_logging.connect
def _configure(**_: object) -> None:
    """Celery's logs are the project's logs."""
    logs.configure()
