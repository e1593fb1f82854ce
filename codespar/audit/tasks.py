"""What the clock starts: one action each, safe to run twice."""

from celery import shared_task

from codespar.audit import sealing


@shared_task(name="codespar.audit.tasks.seal")
def seal() -> None:
    """Checkpoints for every chain that grew."""
    sealing.seal_due()
