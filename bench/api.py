"""The engine's api with a stopwatch at each step of a payment: for the run that says where the time goes, never for the others."""

from bench import steps
from codespar.wsgi import application as engine

steps.watch_api()
application = steps.timed("request: Django and DRF", engine)
