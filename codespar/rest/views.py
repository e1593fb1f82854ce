"""A resource of the REST API: what its methods need and take is said once, for the code that asks and for the document that tells."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.views import APIView

from codespar.lib.errors import Invalid
from codespar.rest import cardless


class Endpoint(APIView):
    # No docstring: the document would say it of every resource that has none of its own.
    # The scope that each method needs.
    scopes: ClassVar[Mapping[str, str]] = {}
    # The query parameters that each method takes: another one is refused.
    query_parameters: ClassVar[Mapping[str, Sequence[OpenApiParameter]]] = {}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Before the method runs, and after the caller is known. Raises `Invalid`, `MethodNotAllowed`."""
        super().initial(request, *args, **kwargs)
        cardless.check_rest(request)
        method = request.method or ""
        if method not in self.allowed_methods:
            self.http_method_not_allowed(request)
        known = [parameter.name for parameter in self.query_parameters.get(method, ())]
        for name, values in request.query_params.lists():
            if name not in known:
                takes = f"the query parameters are {', '.join(known)}" if known else "no query parameters are taken here"
                raise Invalid(f"There is no query parameter {name[:64]!r}: {takes}.")
            if len(values) > 1:
                raise Invalid(f"The query parameter {name} is given {len(values)} times: give it once.")
