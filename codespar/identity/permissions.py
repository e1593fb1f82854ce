"""Least privilege: each view names the scope of each method, and a view without one is closed."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from codespar.identity import principals
from codespar.identity.authentication import principal
from codespar.identity.principals import ScopeMissing


class HasScope(BasePermission):
    """`view.scopes` maps the method to the scope that it needs."""

    def has_permission(self, request: Request, view: Any) -> bool:
        # DRF asks before it knows whether the view has the method: that one answers 405.
        if request.method not in getattr(view, "scopes", {}):
            if request.method in view.allowed_methods:
                raise ScopeMissing("No token opens this.")
            return True
        principals.require(principal(request), view.scopes[request.method])
        return True
