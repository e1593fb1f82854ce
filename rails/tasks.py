"""Celery: one action each, safe to run twice, at any time, by anybody."""

from celery import shared_task

from rails import credits, dispatch, webhooks


@shared_task(name="rails.tasks.dispatch", ignore_result=True)
def dispatch_due() -> None:
    """Drive what is due one step on, until nothing is."""
    dispatch.run()


@shared_task(name="rails.tasks.notices", ignore_result=True)
def read_notices() -> None:
    """Verify what arrived from rails, and ask about what it speaks of."""
    webhooks.read_new()
    credits.confirm_due()
