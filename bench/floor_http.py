"""The floor over HTTP: a bare Django view, without middleware, on the server that the engine's api has. It makes the floor's calls."""

import json
import os
import threading

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

if not settings.configured:
    settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY=os.urandom(16).hex(), MIDDLEWARE=[], LOGGING_CONFIG=None)

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.urls import path  # noqa: E402

from bench import floor  # noqa: E402

_own = threading.local()


def payments(request: HttpRequest) -> HttpResponse:
    """Reads the body, writes the rows, answers with as many bytes as the engine does."""
    if request.method != "POST":
        return HttpResponse(status=204)
    asked = json.loads(request.body)
    if not hasattr(_own, "connection"):
        _own.connection = floor.connect(os.environ["BENCH_DSN"])
    floor.pay(_own.connection, asked["org"])
    return JsonResponse({"status": "settled", "filling": asked["filling"]}, status=201)


urlpatterns = [path("", payments)]
application = get_wsgi_application()
