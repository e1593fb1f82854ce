"""The web processes: `api` and `console`, told apart by CODESPAR_SERVICE."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "codespar.settings")

application = get_wsgi_application()
