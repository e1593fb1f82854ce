"""Addresses of payments: what agents ask for, what people decide, where rails send notices."""

from django.urls import path

from rails import consent_views, rail_views, views

_everybody = [
    path("v1/rails", rail_views.Rails.as_view()),
    path("v1/payments/<str:payment>", views.PaymentDetail.as_view()),
    path("v1/payments/<str:payment>/resource", views.PaymentResource.as_view()),
    path("v1/payments/<str:payment>/cancel", views.PaymentCancel.as_view()),
    path("v1/consents/<str:consent>/accounts", consent_views.ConsentAccounts.as_view()),
    path("v1/consents/<str:consent>/balances", consent_views.ConsentBalances.as_view()),
    path("v1/consents/<str:consent>/transactions", consent_views.ConsentTransactions.as_view()),
]
agents = [
    path("v1/payments", views.Payments.as_view()),
    path("v1/payments/batch", views.PaymentBatch.as_view()),
    path("v1/consents", consent_views.ReadConsents.as_view()),
    path("v1/consents/<str:consent>", consent_views.ReadConsent.as_view()),
    *_everybody,
]
people = [
    path("v1/payments", views.ReadPayments.as_view()),
    path("v1/consents", consent_views.Consents.as_view()),
    path("v1/consents/<str:consent>", consent_views.ConsentDetail.as_view()),
    *_everybody,
    path("v1/payments/<str:payment>/refund", views.PaymentRefund.as_view()),
    path("v1/payments/<str:payment>/approve", views.PaymentApprove.as_view()),
    path("v1/payments/<str:payment>/deny", views.PaymentDeny.as_view()),
    path("v1/payments/<str:payment>/rulings", views.PaymentRulings.as_view()),
    path("v1/rulings/<str:ruling>/confirm", views.RulingConfirm.as_view()),
    path("v1/rail-accounts", rail_views.RailAccounts.as_view()),
    path("v1/rail-accounts/<str:account>/preflight", rail_views.RailAccountPreflight.as_view()),
    path("v1/rail-accounts/<str:account>/rotate", rail_views.RailAccountRotate.as_view()),
    path("v1/reconciliations", rail_views.Reconciliations.as_view()),
    path("v1/discrepancies", rail_views.Discrepancies.as_view()),
    path("v1/discrepancies/<str:discrepancy>", rail_views.DiscrepancyDetail.as_view()),
    path("v1/discrepancies/<str:discrepancy>/resolve", rail_views.DiscrepancyResolve.as_view()),
]
notices = [path("webhooks/<str:rail>/<str:mode>/<str:org>", views.Webhook.as_view())]
