"""`Authorization: Bearer cs_test_…`: who asks, and so which tenant."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from codespar.identity import principals
from codespar.identity.tokens import Unauthenticated


class AccessToken(BaseAuthentication):
    """The principal behind the bearer token, as `request.user`."""

    def authenticate(self, request: Request) -> tuple[principals.Principal, None]:
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not bearer:
            raise Unauthenticated("This needs an access token: Authorization: Bearer cs_test_… or cs_live_….")
        return principals.authenticate(bearer.strip(), request_id=getattr(request._request, "request_id", "")), None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="codespar"'


class _AccessTokenSchema(OpenApiAuthenticationExtension):
    target_class = AccessToken
    name = "accessToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "cs_test_… or cs_live_…"}


def principal(request: Request) -> principals.Principal:
    """The caller, typed."""
    user: object = request.user
    assert isinstance(user, principals.Principal)
    return user
