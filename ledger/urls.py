"""Addresses of the ledger."""

from django.urls import path

from ledger import views

urlpatterns = [
    path("v1/ledger/entries", views.Entries.as_view()),
    path("v1/ledger/entries/<str:entry>", views.EntryDetail.as_view()),
]
