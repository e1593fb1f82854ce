"""Audit as a Django app: it has no tables, it checks everybody else's."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "codespar.audit"
    label = "audit"
