"""Every kind of record and every kind of part: closed lists. What is not here is not written, and fails verification.

A kind lists the parts that its records may have, in the order in which they may happen, and the members that its `data` must have.
"""

from dataclasses import dataclass

PARTS = frozenset(
    [
        "check",
        "decision",
        "route",
        "mandate_use",
        "approval_request",
        "approval_use",
        "hold",
        "attempt",
        "result",
        "transition",
        "capture",
        "release",
        "refund",
        "deposit",
    ]
)


@dataclass(frozen=True, slots=True)
class Kind:
    """`data`: members that must be there. `parts`: parts that may be there. `must`: parts that must be there."""

    data: frozenset[str]
    parts: frozenset[str] = frozenset()
    must: frozenset[str] = frozenset()


def _kind(data: str, parts: str = "", must: str = "") -> Kind:
    return Kind(frozenset(data.split()), frozenset(parts.split()) | frozenset(must.split()), frozenset(must.split()))


KINDS: dict[str, Kind] = {
    "ledger.reanchored": _kind("generation sealed size root reason_commit"),
    "organisation.created": _kind("organisation member keys tokens"),
    "project.created": _kind("id name"),
    "agent.created": _kind("id name public_jwk thumbprint"),
    "member.created": _kind("id roles commit"),
    "member.roles_changed": _kind("id roles"),
    "member.closed": _kind("id"),
    "member.login_set": _kind("id device password_sha256 device_sha256"),
    "token.created": _kind("token"),
    "token.rotated": _kind("token old overlap_until"),
    "token.revoked": _kind("id"),
    "rail_account.added": _kind("id rail provider_account"),
    "rail_account.rotated": _kind("id rail"),
    "rail_account.checked": _kind("id rail credential ready checks"),
    "consent.registered": _kind("id rail scopes expires_at max_payment max_total currency"),
    "consent.answered": _kind("id from status told"),
    "consent.revoked": _kind("id reason_commit"),
    "consent.read": _kind("id consent resource account page"),
    "reconciliation.flagged": _kind("run rail items"),
    "discrepancy.resolved": _kind("id verdict reason_commit"),
    "reconciliation.lagging": _kind("id rail since"),
    "reconciliation.caught_up": _kind("id rail since"),
    "rail.breaker_changed": _kind("id rail operation reason from to code"),
    "access.refused": _kind("operation target"),
    "wallet.created": _kind("id agent currency"),
    "wallet.funded": _kind("wallet transfer amount currency idempotency"),
    "wallet.returned": _kind("wallet transfer amount currency idempotency"),
    "credit.confirmed": _kind("id amount currency transfer reference", must="deposit"),
    "credit.refused": _kind("id reason"),
    "counterparty.created": _kind("id version country category commit"),
    "counterparty.proposed": _kind("id version country category commit"),
    "counterparty.updated": _kind("id from_version country category commit"),
    "counterparty.confirmed": _kind("id from_version"),
    "counterparty.retired": _kind("id from_version"),
    "mandate.issued": _kind("id agent profile currency max_amount expires_at kid credential_sha256"),
    "mandate.paused": _kind("id"),
    "mandate.resumed": _kind("id"),
    "mandate.revoked": _kind("target scope revocation reason_commit receipt_sha256"),
    "scope.revoked": _kind("target scope revocation reason_commit receipt_sha256"),
    "scope.stopped": _kind("target scope stop reason_commit"),
    "scope.lifted": _kind("target scope stop reason_commit"),
    "policy.version_written": _kind("id version scope scope_id document"),
    "policy.activated": _kind("id version state"),
    "payments.batch_received": _kind("id list_sha256 count idempotency"),
    "payment.authorized": _kind("payment idempotency", must="check decision route mandate_use hold transition"),
    "payment.denied": _kind("payment idempotency", parts="check route approval_use", must="decision transition"),
    "payment.approval_requested": _kind("payment idempotency", parts="check route", must="decision approval_request transition"),
    "payment.scheduled": _kind("payment idempotency", parts="check route", must="decision transition"),
    "payment.executed": _kind("payment", parts="check route mandate_use hold approval_request", must="decision transition"),
    "payment.approved": _kind("payment idempotency", parts="check", must="approval_use decision mandate_use hold transition"),
    "payment.rejected": _kind("payment idempotency", must="approval_use transition"),
    "payment.canceled": _kind("items", parts="release", must="transition"),
    "payment.expired": _kind("items", parts="release", must="transition"),
    "payments.submitted": _kind("items", must="attempt transition"),
    "payments.followed": _kind("items", must="attempt"),
    "payments.resulted": _kind("items", parts="transition capture release", must="result"),
    "payment.handed_over": _kind("payment", must="transition"),
    "payment.ruled": _kind("ruling"),
    "payment.ruling_confirmed": _kind("items", parts="capture release", must="transition"),
    "payment.settled_late": _kind("payment", must="capture transition"),
    "refund.requested": _kind("refund idempotency", parts="transition", must="refund"),
    "refund.initiated": _kind("refund", parts="transition", must="refund"),
    "refund.submitted": _kind("refund", must="attempt"),
    "refund.resulted": _kind("refund", parts="transition refund", must="result"),
    "ledger.exported": _kind("first_seq last_seq openings"),
    "webhook_endpoint.created": _kind("id url_commit types secret"),
    "webhook_endpoint.updated": _kind("id url_commit types disabled from_entry"),
    "webhook_endpoint.rotated": _kind("id secret overlap_until"),
    "webhook_endpoint.replayed": _kind("id after_seq"),
    "webhook_endpoint.tested": _kind("id"),
    "webhook_endpoint.disabled": _kind("id answer"),
    "webhook_endpoint.deleted": _kind("id"),
}
