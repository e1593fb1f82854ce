"""Payments, attempts and refunds as Python reads them. Amounts are minor units."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from codespar.lib.models import TenantModel


class Payment(TenantModel):
    """One payment. The row is the queue: `due_at` says when it is somebody's turn."""

    id = models.UUIDField(primary_key=True)
    project_id = models.UUIDField()
    livemode = models.BooleanField()
    agent_id = models.UUIDField()
    mandate_id = models.UUIDField(null=True)
    wallet_id = models.UUIDField(null=True)
    counterparty_id = models.UUIDField(null=True)
    counterparty_version = models.IntegerField(null=True)
    account_id = models.TextField(null=True)
    amount = models.BigIntegerField()
    currency = models.TextField()
    purpose = models.TextField()
    rail = models.TextField(null=True)
    reference = models.TextField(null=True)
    memo = models.TextField(null=True)
    target = models.TextField(null=True)
    transaction_id = models.TextField(null=True)
    presentation = models.TextField(null=True)
    status = models.TextField()
    code = models.TextField(null=True)
    hold_id = models.UUIDField(null=True)
    decision_id = models.UUIDField()
    rail_key = models.BinaryField()
    rail_ref = models.TextField(null=True)
    rail_payee = models.TextField(null=True)
    provider_id = models.TextField(null=True)
    stage = models.TextField(null=True)
    consent_id = models.UUIDField(null=True)
    execute_at = models.DateTimeField(null=True)
    submit_by = models.DateTimeField()
    captured = models.BigIntegerField()
    refunding = models.BigIntegerField()
    refunded = models.BigIntegerField()
    due_at = models.DateTimeField(null=True)
    checks = models.IntegerField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    created_entry_id = models.UUIDField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "payments"
        ordering = ("-id",)


class Transition(TenantModel):
    """One step of a payment, and the record that it belongs to."""

    entry_id = models.UUIDField(primary_key=True)
    payment_id = models.UUIDField()
    from_state = models.TextField()
    to_state = models.TextField()
    at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "payment_transitions"
        ordering = ("at",)


class Approval(TenantModel):
    """A payment that waits for a person."""

    id = models.UUIDField(primary_key=True)
    payment_id = models.UUIDField()
    requested_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "approvals"
        ordering = ("-requested_at",)


class ApprovalVote(TenantModel):
    """The person's word. One decides."""

    approval_id = models.UUIDField(primary_key=True)
    member_id = models.UUIDField()
    verdict = models.TextField()
    at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "approval_votes"
        ordering = ("-at",)


class Refund(TenantModel):
    """Money on its way back."""

    id = models.UUIDField(primary_key=True)
    payment_id = models.UUIDField()
    rail = models.TextField()
    amount = models.BigIntegerField()
    status = models.TextField()
    code = models.TextField(null=True)
    rail_key = models.BinaryField()
    rail_ref = models.TextField(null=True)
    provider_id = models.TextField(null=True)
    requested_by = models.TextField()
    due_at = models.DateTimeField(null=True)
    checks = models.IntegerField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "refunds"
        ordering = ("-id",)


class Attempt(TenantModel):
    """One call to a rail, durable before its first byte."""

    id = models.UUIDField(primary_key=True)
    payment_id = models.UUIDField()
    refund_id = models.UUIDField(null=True)
    operation = models.TextField()
    rail = models.TextField()
    rail_key = models.BinaryField()
    worker = models.TextField()
    send_by = models.DateTimeField()
    created_at = models.DateTimeField()
    intent_entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "attempts"
        ordering = ("-created_at",)


class AttemptResult(TenantModel):
    """What the rail said, each time that it said something."""

    id = models.UUIDField(primary_key=True)
    attempt_id = models.UUIDField()
    source = models.TextField()
    result = models.TextField()
    code = models.TextField()
    proof = models.TextField(null=True)
    provider_id = models.TextField(null=True)
    moved = models.BigIntegerField(null=True)
    at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "attempt_results"
        ordering = ("-at",)


class WebhookMessage(TenantModel):
    """What arrived from a rail, raw."""

    id = models.UUIDField(primary_key=True)
    rail = models.TextField()
    livemode = models.BooleanField()
    message_id = models.TextField()
    headers = models.JSONField()
    body = models.BinaryField()
    status = models.TextField()
    received_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "webhook_messages"
        ordering = ("-received_at",)


class BreakerChange(TenantModel):
    """A breaker that opened, closed, or let one call through to see."""

    id = models.UUIDField(primary_key=True)
    livemode = models.BooleanField()
    rail = models.TextField()
    operation = models.TextField()
    reason = models.TextField()
    from_state = models.TextField()
    to_state = models.TextField()
    code = models.TextField()
    at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "breaker_changes"
        ordering = ("-at",)


class Reconciliation(TenantModel):
    """One look at the provider's own records. Balances are minor units, None where the rail tells none."""

    id = models.UUIDField(primary_key=True)
    rail_account_id = models.UUIDField()
    rail = models.TextField()
    livemode = models.BooleanField()
    status = models.TextField()
    code = models.TextField(null=True)
    whole = models.BooleanField()
    lines = models.IntegerField()
    matched = models.IntegerField()
    pending = models.IntegerField()
    opened = models.IntegerField()
    cases = models.IntegerField()
    closing = models.BigIntegerField(null=True)
    expected = models.BigIntegerField(null=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta(TenantModel.Meta):
        db_table = "reconciliations"
        ordering = ("-started_at",)


class StatementLine(TenantModel):
    """One line of a provider's statement, as it was told."""

    line_id = models.TextField(primary_key=True)
    rail_account_id = models.UUIDField()
    version = models.IntegerField()
    kind = models.TextField()
    provider_id = models.TextField()
    ref = models.TextField(null=True)
    amount = models.BigIntegerField()
    currency = models.TextField()
    party = models.TextField()
    at = models.DateTimeField()
    current = models.BooleanField()
    matched = models.BooleanField()
    flagged = models.BooleanField()

    class Meta(TenantModel.Meta):
        db_table = "statement_lines"
        ordering = ("-at",)


class Discrepancy(TenantModel):
    """What the provider's records and ours do not agree on."""

    id = models.UUIDField(primary_key=True)
    rail_account_id = models.UUIDField()
    rail = models.TextField()
    livemode = models.BooleanField()
    kind = models.TextField()
    subject = models.TextField()
    line_id = models.TextField(null=True)
    payment_id = models.UUIDField(null=True)
    refund_id = models.UUIDField(null=True)
    ours = models.JSONField()
    theirs = models.JSONField()
    payees_commit = models.TextField(null=True)
    run_id = models.UUIDField()
    opened_at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "discrepancies"
        ordering = ("-id",)


class DiscrepancyResolution(TenantModel):
    """Who closed a discrepancy, and whose side was right."""

    discrepancy_id = models.UUIDField(primary_key=True)
    member_id = models.UUIDField()
    verdict = models.TextField()
    reason_commit = models.TextField()
    at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "discrepancy_resolutions"
        ordering = ("-at",)


class Ruling(TenantModel):
    """How one person says that a payment ended."""

    id = models.UUIDField(primary_key=True)
    payment_id = models.UUIDField()
    outcome = models.TextField()
    proposed_by = models.UUIDField()
    reason_commit = models.TextField()
    evidence_commit = models.TextField()
    at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "payment_rulings"
        ordering = ("-id",)


class RulingConfirmation(TenantModel):
    """The other person's word."""

    ruling_id = models.UUIDField(primary_key=True)
    payment_id = models.UUIDField()
    proposed_by = models.UUIDField()
    confirmed_by = models.UUIDField()
    at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "ruling_confirmations"
        ordering = ("-at",)


class Consent(TenantModel):
    """What the holder of an account allows at its bank: `scopes`, until `expires_at`, and how much where it is to pay."""

    id = models.UUIDField(primary_key=True)
    livemode = models.BooleanField()
    rail = models.TextField()
    scopes = ArrayField(models.TextField())
    max_payment = models.BigIntegerField(null=True)
    max_total = models.BigIntegerField(null=True)
    currency = models.TextField(null=True)
    expires_at = models.DateTimeField()
    status = models.TextField()
    code = models.TextField(null=True)
    provider_consent = models.TextField(null=True)
    address = models.TextField(null=True)
    requested_by = models.TextField()
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.TextField(null=True)
    told_at = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "consents"
        ordering = ("-id",)
