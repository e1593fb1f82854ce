"""Addresses of what can be proved."""

from django.urls import path

from codespar.audit import views

urlpatterns = [path("v1/ledger/export", views.Export.as_view())]
