"""The part of a payment's page on which two people say how it ended: what is known, what was proposed, and the forms."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.http import HttpRequest
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from codespar.console import cells
from codespar.console.admin import Panel
from codespar.identity.acts import Act, ActForm, ActingAdmin
from codespar.identity.models import Member
from codespar.identity.principals import Principal
from codespar.lib import ids, money, pages
from codespar.lib.errors import Invalid
from codespar.rest import fields
from rails import rail_queries, serializers
from rails.actions import rulings
from rails.models import Attempt, AttemptResult, Discrepancy, DiscrepancyResolution, Payment, Ruling, RulingConfirmation
from wallets.models import HoldResolution

_ENDS = {
    "settled": "Settled: the payee has the money",
    "failed": "Failed: nothing has left",
    "written_off": "Written off: the money is gone, and nobody owes it any more",
}


class ProposeIn(serializers.RulingIn):
    """A ruling, and the id that the form was made with."""

    ruling = fields.Text(longest=40)


class ConfirmIn(fields.Strict):
    """Which ruling somebody agrees to."""

    ruling = fields.Text(longest=40)


class ProposeForm(ActForm):
    """How a person says that a payment ended."""

    body = ProposeIn
    outcome = forms.ChoiceField(label="How it ended", choices=[("", "Choose"), *_ENDS.items()], widget=UnfoldAdminSelectWidget)
    reason = forms.CharField(label="Reason", widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "maxlength": 2000}))
    evidence = forms.CharField(
        label="Evidence",
        help_text="What shows it: a bank's letter and its reference, a line of a statement, a hash.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "maxlength": 2000}),
    )
    ruling = forms.CharField(widget=forms.HiddenInput)


class ConfirmForm(ActForm):
    """How another person agrees."""

    body = ConfirmIn
    ruling = forms.CharField(widget=forms.HiddenInput)


def _propose(caller: Principal, row: Payment, asked: Mapping[str, Any]) -> str:
    said = {name: asked[name] for name in ("outcome", "reason", "evidence")}
    rulings.propose(caller, payment=row, ruling=ids.parse(asked["ruling"], "rul"), **said)
    return "Your ruling is proposed. Nothing moves before another person confirms it."


def _proposed(caller: Principal, row: Payment, asked: Mapping[str, Any]) -> bool:
    found = _own(row, asked["ruling"]).filter(proposed_by=caller.member).first()
    if found is None:
        return False
    texts = rail_queries.texts(row.org_id, [found.reason_commit, found.evidence_commit])
    said = (found.outcome, texts[found.reason_commit], texts[found.evidence_commit])
    return said == (asked["outcome"], asked["reason"], asked["evidence"])


def _confirm(caller: Principal, row: Payment, asked: Mapping[str, Any]) -> str:
    key = pages.path_id(asked["ruling"], "rul", "ruling")
    rulings.confirm(caller, payment=row, ruling=pages.one(Ruling, row.org_id, key, "ruling", payment_id=row.id))
    return "The ruling is confirmed, and the payment has ended."


def _confirmed(caller: Principal, row: Payment, asked: Mapping[str, Any]) -> bool:
    confirmations = RulingConfirmation.objects.for_org(row.org_id).filter(confirmed_by=caller.member)
    return confirmations.filter(ruling_id__in=_own(row, asked["ruling"]).values("id")).exists()


def _own(row: Payment, ruling: str) -> Any:
    """The ruling with this wire id, if it is on this payment."""
    rows = Ruling.objects.for_org(row.org_id).filter(payment_id=row.id)
    try:
        return rows.filter(id=ids.parse(ruling, "rul"))
    except Invalid:
        return rows.none()


PROPOSE = Act("propose", "payments:rule", ProposeForm, _propose, _proposed, "You had proposed this already, with the same words.")
CONFIRM = Act("confirm", "payments:rule", ConfirmForm, _confirm, _confirmed, "You had confirmed this already.")
ACTS = (PROPOSE, CONFIRM)


def panels(page: ActingAdmin, request: HttpRequest, row: Payment, sent: ActForm | None) -> list[Panel]:
    """For a payment that needs a human, or that people have ruled on."""
    found = list(Ruling.objects.for_org(row.org_id).filter(payment_id=row.id).order_by("-id"))
    waits = row.status == "needs_human"
    if not waits and not found:
        return []
    may = page.may(request, PROPOSE)
    context = {
        "waits": waits,
        "may": may,
        "scope": PROPOSE.scope,
        "known": _known(row),
        "proposals": _proposals(page, request, row, found, sent),
        "form": _new(page, request, row, sent) if waits and may else None,
        "address": page.act_address(row, PROPOSE),
    }
    return [Panel("rails/rulings.html", context)]


def _known(row: Payment) -> dict[str, Any]:
    """What the books and the rail say of the payment. Amounts are written out."""
    held = not HoldResolution.objects.for_org(row.org_id).filter(hold_id=row.hold_id).exists()
    closed = DiscrepancyResolution.objects.for_org(row.org_id).values("discrepancy_id")
    cases = Discrepancy.objects.for_org(row.org_id).filter(payment_id=row.id).exclude(id__in=closed)
    attempts = Attempt.objects.for_org(row.org_id).filter(payment_id=row.id).values("id")
    written = {
        name: str(money.Money(amount, row.currency))
        for name, amount in (
            ("amount", row.amount),
            ("held", row.amount if held else 0),
            ("captured", row.captured),
            ("refunded", row.refunded),
            ("out", row.captured - row.refunded),
        )
    }
    return {
        **written,
        "code": (row.code or "").replace("_", " "),
        "is_held": held,
        "moved": row.captured > row.refunded,
        "cases": [cells.reference(ids.wire("dsc", case.id), short=True) for case in cases],
        "last": AttemptResult.objects.for_org(row.org_id).filter(attempt_id__in=attempts).order_by("-at").first(),
    }


def _new(page: ActingAdmin, request: HttpRequest, row: Payment, sent: ActForm | None) -> ActForm:
    """The form to propose, under an id of its own."""
    if isinstance(sent, ProposeForm):
        return sent
    form = page.act_form(request, row, PROPOSE, initial={"ruling": ids.wire("rul", ids.new())})
    if row.captured > row.refunded:
        outcome = form.fields["outcome"]
        assert isinstance(outcome, forms.ChoiceField)
        outcome.choices = [("", "Choose"), *((key, said) for key, said in _ENDS.items() if key != "failed")]
    return form


def _proposals(page: ActingAdmin, request: HttpRequest, row: Payment, found: list[Ruling], sent: ActForm | None) -> list[dict[str, Any]]:
    confirmations = {one.ruling_id: one for one in RulingConfirmation.objects.for_org(row.org_id).filter(payment_id=row.id)}
    texts = rail_queries.texts(row.org_id, [commit for one in found for commit in (one.reason_commit, one.evidence_commit)])
    people = {one.proposed_by for one in found} | {one.confirmed_by for one in confirmations.values()}
    names = dict(Member.objects.for_org(row.org_id).filter(id__in=people).values_list("id", "name"))
    who = lambda member: cells.reference(ids.wire("mem", member), label=names.get(member))  # noqa: E731
    shown = []
    for one in found:
        agreed = confirmations.get(one.id)
        shown.append(
            {
                "id": ids.wire("rul", one.id),
                "outcome": cells.label_of(one.outcome),
                "by": who(one.proposed_by),
                "at": one.at,
                "reason": texts.get(one.reason_commit, ""),
                "evidence": texts.get(one.evidence_commit, ""),
                "confirmed": agreed and {"by": who(agreed.confirmed_by), "at": agreed.at},
                **_to_confirm(page, request, row, one, sent),
            }
        )
    return shown


def _to_confirm(page: ActingAdmin, request: HttpRequest, row: Payment, ruling: Ruling, sent: ActForm | None) -> dict[str, Any]:
    """The form to confirm, or why this member cannot."""
    member: Any = request.user
    if row.status != "needs_human" or not page.may(request, CONFIRM):
        return {}
    if ruling.proposed_by == member.id:
        return {"mine": True}
    wire = ids.wire("rul", ruling.id)
    came_back = isinstance(sent, ConfirmForm) and sent.data.get("ruling") == wire
    form = sent if sent and came_back else page.act_form(request, row, CONFIRM, initial={"ruling": wire})
    form.auto_id = f"confirm_{wire}_%s"
    return {"form": form, "address": page.act_address(row, CONFIRM)}
