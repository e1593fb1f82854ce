"""What the dispatcher checks again before a byte leaves: another process and another role than the one that decided."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from codespar.lib import canonical, clock, ids, targets
from codespar.lib.sdjwt import MandateInvalid
from codespar.vault import keys
from ledger import records
from mandates import credentials

Keys = Mapping[str, Ed25519PublicKey | EllipticCurvePublicKey]


def public_keys(found: Iterable[Mapping[str, Any]]) -> Keys:
    """An organisation's public keys, as the database tells them (`kid` and `jwk`), by key id."""
    return {key["kid"]: keys.load_public(key["jwk"]) for key in found}


def fault(payment: Mapping[str, Any], *, known: Keys, deployment: str, now: datetime) -> str | None:
    """Why this payment must not be sent, or None: its record's and its mandate's signatures, and that both say what the row says.

    `payment` is the row with its authorising entry's `content`, `sig`, `entry_kid`, its mandate's `credential`, its `counterparty`'s
    document, and the opening of its target (`target_salt`, `target_value`).
    """
    key = known.get(payment["entry_kid"])
    content = bytes(payment["content"])
    if not isinstance(key, Ed25519PublicKey) or not records.signature_holds(key, content, bytes(payment["sig"])):
        return "record_signature"
    if not canonical.is_canonical(content) or not _same(payment, canonical.loads(content)):
        return "record_content"
    if not _target_holds(payment):
        return "target"
    return _mandate_fault(payment, known, deployment, now)


def scheduled_fault(payment: Mapping[str, Any], known: Keys) -> str | None:
    """The same of what was asked for when the payment was scheduled: `payment` is the row with that entry's `content` and `sig`."""
    key = known.get(payment["entry_kid"])
    content = bytes(payment["content"])
    if not isinstance(key, Ed25519PublicKey) or not records.signature_holds(key, content, bytes(payment["sig"])):
        return "record_signature"
    said = canonical.loads(content)
    told = _said(said)
    same = canonical.is_canonical(content) and all(told.get(name) == value for name, value in _asked(payment).items())
    on_time = told.get("execute_at") == clock.stamp(payment["execute_at"])
    return None if same and on_time and said["livemode"] == payment["livemode"] else "record_content"


def _asked(payment: Mapping[str, Any]) -> dict[str, Any]:
    """What an agent asked for, as its row has it."""
    return {
        "id": ids.wire("pay", payment["id"]),
        "mandate": ids.wire("mnd", payment["mandate_id"]),
        "counterparty": ids.wire("ctp", payment["counterparty_id"]),
        "account": payment["account_id"],
        "amount": payment["amount"],
        "currency": payment["currency"],
        "purpose": payment["purpose"],
        "rail": payment["rail"],
        "target": payment["target"],
    }


def _said(content: Mapping[str, Any]) -> dict[str, Any]:
    """The payment as a record has it: a request commits to its target, and the records of a person's yes and of its time name it again."""
    said = content["data"]["payment"]
    return {"target": said.get("target_commit"), **said}


def _same(payment: Mapping[str, Any], content: Mapping[str, Any]) -> bool:
    said = _said(content)
    consent = payment["consent_id"] and ids.wire("cns", payment["consent_id"])
    row = _asked(payment) | {
        "consent": consent,
        "wallet": ids.wire("wal", payment["wallet_id"]),
        "counterparty_version": payment["counterparty_version"],
    }
    outcome = [part["outcome"] for part in content["parts"] if part["part"] == "decision"]
    return (
        all(said.get(name) == value for name, value in row.items()) and outcome == ["allow"] and content["livemode"] == payment["livemode"]
    )


def _target_holds(payment: Mapping[str, Any]) -> bool:
    """The text is the one that the record commits to, and asks for this payee, amount and currency or says nothing of them."""
    commit, salt, value = payment["target"], bytes(payment["target_salt"] or b""), bytes(payment["target_value"] or b"")
    account = next(a["value"] for a in payment["counterparty"]["accounts"] if a["id"] == payment["account_id"])
    try:
        named = None if commit is None else value.decode()
        targets.check(payment["rail"], named, targets.Paid(account, payment["amount"], payment["currency"]))
    except targets.BadTarget:
        return False
    return commit is None or canonical.sha256(salt + value).hex() == commit


def _mandate_fault(payment: Mapping[str, Any], known: Keys, deployment: str, now: datetime) -> str | None:
    signers = {kid: key for kid, key in known.items() if isinstance(key, EllipticCurvePublicKey)}
    try:
        terms = credentials.verify(credential=payment["credential"], keys=signers, now=now, deployment=deployment)
    except MandateInvalid as error:
        return error.code
    named = terms.counterparties is None or ids.wire("ctp", payment["counterparty_id"]) in [p.id for p in terms.counterparties]
    holds = (
        terms.id == ids.wire("mnd", payment["mandate_id"])
        and terms.agent == ids.wire("agt", payment["agent_id"])
        and terms.livemode == payment["livemode"]
        and terms.currency == payment["currency"]
        and payment["amount"] <= terms.max_amount
        and named
    )
    return None if holds else "mandate_content"
