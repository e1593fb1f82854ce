"""Addresses of mandates, counterparties and policies: what agents may, and what people may."""

from django.urls import path

from mandates import views

agents = [
    path("v1/mandates", views.Mandates.as_view()),
    path("v1/mandates/<str:mandate>", views.MandateDetail.as_view()),
    path("v1/counterparties", views.Counterparties.as_view()),
    path("v1/counterparties/<str:counterparty>", views.CounterpartyDetail.as_view()),
]
people = [
    path("v1/mandates", views.IssueMandates.as_view()),
    path("v1/mandates/<str:mandate>", views.MandateDetail.as_view()),
    path("v1/mandates/<str:mandate>/pause", views.MandatePause.as_view()),
    path("v1/mandates/<str:mandate>/resume", views.MandateResume.as_view()),
    path("v1/mandates/<str:mandate>/revoke", views.MandateRevoke.as_view()),
    path("v1/revocations", views.Revocations.as_view()),
    path("v1/revocations/<str:revocation>", views.RevocationDetail.as_view()),
    path("v1/stops", views.Stops.as_view()),
    path("v1/stops/<str:stop>", views.StopDetail.as_view()),
    path("v1/counterparties", views.PeoplesCounterparties.as_view()),
    path("v1/counterparties/<str:counterparty>", views.PeoplesCounterpartyDetail.as_view()),
    path("v1/counterparties/<str:counterparty>/confirm", views.CounterpartyConfirm.as_view()),
    path("v1/counterparties/<str:counterparty>/retire", views.CounterpartyRetire.as_view()),
    path("v1/policies", views.Policies.as_view()),
    path("v1/policies/<str:policy>", views.PolicyDetail.as_view()),
    path("v1/policies/<str:policy>/versions", views.PolicyVersions.as_view()),
    path("v1/policies/<str:policy>/activate", views.PolicyActivate.as_view()),
]
