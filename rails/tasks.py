"""Celery: one action each, safe to run twice, at any time, by anybody."""

from celery import shared_task

from rails import credits, reconciliation, webhooks


@shared_task(name="rails.tasks.notices", ignore_result=True)
def read_notices() -> None:
    """Verify what arrived from rails, and ask about what it speaks of."""
    for rail in webhooks.read_new():
        credits.confirm_due(rail)


@shared_task(name="rails.tasks.reconcile", ignore_result=True)
def reconcile(rail: str) -> None:
    """Hold this rail's statements against our books, for every account whose minute has come."""
    while reconciliation.run_due(rail):
        continue
