"""Problem documents (RFC 9457). The one table from code to status and title; `docs/problems.md` is made from it."""

from typing import Any

from django.http import HttpRequest, HttpResponse

from codespar.lib import canonical, cards

CONTENT_TYPE = "application/problem+json"
_RETRYABLE = {409, 429, 503}

# Denials are 403 and payments at the same time: the payment is stored, with its decision and its record.
DENIALS: dict[str, str] = {
    "account_needed": "The account to pay is not clear",
    "agent_closed": "The agent is closed",
    "agent_mismatch": "The mandate is another agent's",
    "amount_denied": "The policy denies this amount",
    "amount_exceeded": "The mandate allows less for one payment",
    "approval_denied": "A person denied the payment",
    "budget_exhausted": "The mandate's budget is used up",
    "category_denied": "The policy denies this category",
    "category_mismatch": "The mandate does not name this category",
    "clock_skew": "The clocks disagree",
    "consent_expired": "The consent has expired",
    "consent_limit": "The consent allows less",
    "consent_missing": "There is no consent for this",
    "consent_pending": "The account's holder has not authorised the consent",
    "consent_refused": "The consent was refused",
    "consent_revoked": "The consent is revoked",
    "consent_scope": "The consent does not allow this",
    "counterparty_denied": "The policy denies this counterparty",
    "counterparty_mismatch": "The counterparty is not what the request says, or not on the mandate",
    "counterparty_unknown": "The counterparty is not in the registry",
    "country_denied": "The policy denies this country",
    "country_mismatch": "The mandate does not name this country",
    "currency_denied": "The policy denies this currency",
    "currency_mismatch": "The mandate pays in another currency",
    "currency_not_covered": "The policy has no limit in this currency",
    "denied": "The policy denies this payment",
    "insufficient_funds": "The wallet does not hold that much",
    "invalid_mandate": "The mandate does not prove anything",
    "limit_day": "The day's limit is reached",
    "limit_month": "The month's limit is reached",
    "limit_payment": "The limit for one payment is exceeded",
    "limit_week": "The week's limit is reached",
    "mandate_expired": "The mandate has expired",
    "mandate_not_yet_valid": "The mandate does not hold yet",
    "mandate_paused": "The mandate is paused",
    "mandate_revoked": "The mandate is revoked",
    "no_wallet": "The agent has no wallet in this currency",
    "not_allowed": "No allow rule matches",
    "policy_missing": "The organisation has no active policy",
    "presentation_mismatch": "The presentation was signed for something else",
    "purpose_denied": "The policy denies this purpose",
    "purpose_mismatch": "The mandate does not name this purpose",
    "rail_denied": "The policy denies this rail",
    "rail_mismatch": "The mandate does not name this rail",
    "rail_currency": "The rail does not pay in this currency",
    "rail_not_ready": "The account at this rail did not pass its preflight check",
    "rail_unavailable": "The organisation has no account at this rail",
    "snapshot_incomplete": "What a limit has counted is not known",
    "stopped": "Payments are stopped",
    "target_malformed": "What is to be paid for is not in its form",
    "target_mismatch": "What is to be paid for asks for something else than the request",
    "target_needed": "This rail must be told what is paid for",
    "target_unsupported": "This rail does not pay for this",
    "time_blocked": "The policy blocks this time",
    "time_window_closed": "The mandate does not pay at this time",
    "undecidable": "The decision could not be made",
    "unknown_constraint": "The mandate has a constraint that is not enforced here",
    "unknown_key": "The mandate was signed with an unknown key",
    "uses_exhausted": "The mandate's uses are used up",
}
PROBLEMS: dict[str, tuple[int, str]] = {
    "invalid_request": (400, "The request is malformed"),
    "card_number_refused": (400, "Card numbers are not taken"),
    "credential_refused": (400, "Passwords and codes of people are not taken"),
    "idempotency_key_required": (400, "An Idempotency-Key is required"),
    "profile_cannot_express": (400, "The profile cannot express this constraint"),
    "unauthenticated": (401, "The access token is not valid"),
    "scope_missing": (403, "The token does not allow this"),
    "platform_only": (403, "This reaches every organisation"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "The method is not allowed here"),
    "not_acceptable": (406, "The answer is JSON"),
    "state_conflict": (409, "The object is not in a state that allows this"),
    "idempotency_in_flight": (409, "The first request under this key is still running"),
    "not_refundable": (409, "There is nothing to refund"),
    "request_too_large": (413, "The request is too large"),
    "unsupported_media_type": (415, "The body must be application/json"),
    "idempotency_conflict": (422, "The key was used for another request"),
    "idempotency_key_expired": (422, "The key is too old"),
    "rate_limited": (429, "Too many requests"),
    "internal": (500, "Something broke here"),
    "contention": (503, "Too much moved at once"),
    "unavailable": (503, "Not available right now"),
    "rewound": (503, "The database was set back to an older copy"),
    "vault_refused": (503, "The key store did not open"),
    **{code: (403, title) for code, title in DENIALS.items()},
}


def document(code: str, detail: str, *, request: HttpRequest | None = None, **extra: Any) -> dict[str, Any]:
    """A problem document. An unknown code is our mistake and becomes `internal`."""
    status, title = PROBLEMS.get(code, PROBLEMS["internal"])
    found: dict[str, Any] = {
        "type": f"urn:codespar:problem:{code if code in PROBLEMS else 'internal'}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": cards.mask(request.path) if request else None,
        "code": code if code in PROBLEMS else "internal",
        "request_id": getattr(request, "request_id", None),
        "retryable": status in _RETRYABLE,
        "errors": extra.pop("errors", []),
        "reasons": extra.pop("reasons", []),
    }
    return found | extra


def render(body: dict[str, Any]) -> HttpResponse:
    """A problem document outside of DRF."""
    return HttpResponse(canonical.compact(body), status=body["status"], content_type=CONTENT_TYPE)
