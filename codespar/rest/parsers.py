"""JSON as strictly as it is signed: no repeated names, no NaN, UTF-8, integers that every reader reads the same."""

from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from rest_framework.parsers import BaseParser

from codespar.lib import canonical
from codespar.lib.errors import Invalid
from codespar.rest import cardless


class StrictJSON(BaseParser):
    """Parses `application/json` up to the largest size of a body; everything else is 415."""

    media_type = "application/json"

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        # Django looks at the size of a form only.
        raw = stream.read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
        if len(raw) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise RequestDataTooBig
        body = canonical.loads(raw)
        if not isinstance(body, dict):
            raise Invalid("The body must be a JSON object.")
        # Fingerprints are made of the canonical form: a body without one is malformed.
        canonical.dumps(body)
        cardless.check_body(body)
        return body
