"""Addresses of wallets: what agents read, and what people add to it."""

from django.urls import path
from drf_spectacular.utils import extend_schema, extend_schema_view

from wallets import views

agents = [
    path("v1/wallets", views.Wallets.as_view()),
    path("v1/wallets/<str:wallet>", views.WalletDetail.as_view()),
    path("v1/wallets/<str:wallet>/statement", views.Statement.as_view()),
]
_fund = extend_schema_view(post=extend_schema(operation_id="wallets_fund"))(views.Move)
_return = extend_schema_view(post=extend_schema(operation_id="wallets_return"))(views.Return)
people = [
    path("v1/wallets", views.OpenWallets.as_view()),
    *agents[1:],
    path("v1/wallets/<str:wallet>/fund", _fund.as_view()),
    path("v1/wallets/<str:wallet>/return", _return.as_view()),
]
