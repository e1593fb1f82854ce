"""The OpenAPI document: what every operation can answer, problems included."""

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, inline_serializer
from rest_framework import serializers


class ProblemItem(serializers.Serializer[Any]):
    """One thing that is wrong, and where (RFC 6901)."""

    code = serializers.CharField()
    detail = serializers.CharField()
    pointer = serializers.CharField()


class Problem(serializers.Serializer[Any]):
    """RFC 9457."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    instance = serializers.CharField(allow_null=True)
    code = serializers.CharField()
    request_id = serializers.CharField(allow_null=True)
    retryable = serializers.BooleanField()
    errors = ProblemItem(many=True)  # type: ignore[assignment]  # a member that DRF also uses as a name
    reasons = serializers.ListField(child=serializers.DictField())


IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255},
    OpenApiParameter.HEADER,
    required=True,
    description="Your own key for this request, the same for every retry.",
)
PREFER = OpenApiParameter(
    "Prefer", str, OpenApiParameter.HEADER, required=False, description="`respond-async`: answer 202 at once, do not wait for the rail."
)
PAGE = [
    OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, OpenApiParameter.QUERY),
    OpenApiParameter("cursor", str, OpenApiParameter.QUERY, description="From `next_page_url`; opaque."),
]
__all__ = ["IDEMPOTENCY_KEY", "PAGE", "PREFER", "OpenApiExample", "Problem", "Schema", "listed"]


def listed(item: type[serializers.Serializer[Any]]) -> Any:
    """The page of a list of `item`."""
    name = item.__name__
    return inline_serializer(
        f"{name}Page",
        {"data": item(many=True), "has_more": serializers.BooleanField(), "next_page_url": serializers.CharField(allow_null=True)},
    )


class Schema(AutoSchema):
    """Adds the query parameters that the view takes, and the problems that every operation can answer."""

    # An `Endpoint`: every view is one.
    view: Any

    def get_override_parameters(self) -> Any:
        return [*self.view.query_parameters.get(self.method, ()), *super().get_override_parameters()]

    def get_operation(self, *arguments: Any, **options: Any) -> Any:
        operation = super().get_operation(*arguments, **options)
        if operation is not None:
            for status in self._problems():
                operation["responses"].setdefault(status, self._problem())
        return operation

    def _problems(self) -> list[str]:
        statuses = ["400", "404", "405", "406", "429", "500", "503"]
        if self.view.scopes:
            statuses += ["401", "403"]
        if self.method in ("POST", "PUT", "PATCH", "DELETE"):
            statuses += ["409", "413", "415", "422"]
        return statuses

    def _problem(self) -> dict[str, Any]:
        component = self.resolve_serializer(Problem(), "response")
        return {"description": "A problem (RFC 9457).", "content": {"application/problem+json": {"schema": component.ref}}}
