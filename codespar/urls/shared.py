"""What both services answer: status, keys, contract."""

from django.urls import path

from codespar import public

urlpatterns = [
    path("v1/status", public.Status.as_view()),
    path(".well-known/jwks.json", public.Jwks.as_view()),
    path("openapi.json", public.OpenApi.as_view()),
]
