"""Settings for tools that read the code and start nothing: no address here is ever connected to."""

import os

_NOWHERE = {
    "CODESPAR_ROLE": "owner",
    "CODESPAR_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing",
    "CODESPAR_REDIS_URL": "redis://127.0.0.1:9/0",
    "CODESPAR_DEPLOYMENT": "check.localhost",
    "CODESPAR_SECRET_KEY": "nothing-is-signed-with-this-key-at-all",
}
for name, value in _NOWHERE.items():
    os.environ.setdefault(name, value)
os.environ.setdefault("CODESPAR_SERVICE", "console")

from codespar.settings import *  # noqa: E402, F403
