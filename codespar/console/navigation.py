"""The console's side bar, by the question that each part answers."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

_GROUPS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    ("", (("Overview", "dashboard", "index"),)),
    (
        "Payments",
        (
            ("Payments", "payments", "rails_payment_changelist"),
            ("Approvals", "approval", "rails_approval_changelist"),
            ("Refunds", "undo", "rails_refund_changelist"),
            ("Attempts", "send", "rails_attempt_changelist"),
            ("Webhooks", "webhook", "rails_webhookmessage_changelist"),
        ),
    ),
    (
        "Rails",
        (
            ("Rails", "route", "rails_breakerchange_changelist"),
            ("Consents", "handshake", "rails_consent_changelist"),
            ("Reconciliations", "balance", "rails_reconciliation_changelist"),
            ("Discrepancies", "difference", "rails_discrepancy_changelist"),
            ("Webhook endpoints", "notifications", "alerts_webhookendpoint_changelist"),
        ),
    ),
    (
        "Authority",
        (
            ("Mandates", "contract", "mandates_mandate_changelist"),
            ("Counterparties", "storefront", "mandates_counterparty_changelist"),
            ("Policies", "policy", "mandates_policy_changelist"),
            ("Decisions", "gavel", "mandates_decision_changelist"),
            ("Stops", "front_hand", "mandates_stop_changelist"),
            ("Revocations", "block", "mandates_revocation_changelist"),
        ),
    ),
    (
        "Money",
        (
            ("Accounts", "account_balance_wallet", "wallets_account_changelist"),
            ("Transfers", "swap_horiz", "wallets_transfer_changelist"),
            ("Holds", "lock_clock", "wallets_hold_changelist"),
            ("Credits", "add_card", "wallets_credit_changelist"),
        ),
    ),
    (
        "Evidence",
        (
            ("Ledger", "link", "ledger_entry_changelist"),
            ("Checkpoints", "verified", "ledger_checkpoint_changelist"),
        ),
    ),
    (
        "Identity",
        (
            ("Organisation", "domain", "identity_organisation_changelist"),
            ("Projects", "folder", "identity_project_changelist"),
            ("Agents", "smart_toy", "identity_agent_changelist"),
            ("Members", "group", "identity_member_changelist"),
            ("Access tokens", "key", "identity_accesstoken_changelist"),
            ("Signing keys", "encrypted", "vault_privatekey_changelist"),
            ("Rail accounts", "account_balance", "vault_railaccount_changelist"),
        ),
    ),
)


def groups(request: HttpRequest) -> list[dict[str, Any]]:
    """Unfold's SIDEBAR.navigation."""
    return [{"title": title, "items": [_item(*item) for item in items]} for title, items in _GROUPS]


def _item(title: str, icon: str, name: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": reverse(f"admin:{name}")}
