"""Payments over REST: parse, one action, render."""

import re
from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from codespar.identity import acting
from codespar.identity.authentication import principal
from codespar.lib import canonical, clock, pages
from codespar.lib.errors import CodesparError, Conflict, Invalid, NotFound
from codespar.rest import answers, fields
from codespar.rest.openapi import IDEMPOTENCY_KEY, PAGE, PREFER, listed
from codespar.rest.problem import CONTENT_TYPE
from codespar.rest.views import Endpoint
from rails import answering, queries, serializers, webhooks
from rails.actions import batches, payments, refunds, rulings, votes
from rails.actions.payments import Order
from rails.models import Payment, Refund, Ruling

_DRY = OpenApiParameter("dry_run", {"type": "boolean", "default": False}, OpenApiParameter.QUERY)
_KEY = OpenApiParameter(
    IDEMPOTENCY_KEY.name,
    IDEMPOTENCY_KEY.type,
    OpenApiParameter.HEADER,
    required=False,
    description=f"{IDEMPOTENCY_KEY.description} Required unless `dry_run` is true: a dry run does not read it.",
)
_DENIED = (403, CONTENT_TYPE)
_BYTES = "application/octet-stream"
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9.+-]{1,60}/[A-Za-z0-9.+-]{1,60}(; ?charset=[A-Za-z0-9-]{1,30})?")
_KEPT = {
    "Content-Disposition": 'attachment; filename="resource"',
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_PAID = {200: serializers.DryRunOut, 201: serializers.PaymentOut, 202: serializers.PaymentOut, _DENIED: serializers.DeniedOut}


class ReadPayments(Endpoint):
    """An agent sees its own payments; people see all of the token's mode."""

    scopes = {"GET": "payments:read"}
    query_parameters = {"GET": PAGE}

    @extend_schema(operation_id="payments_list", responses={200: listed(serializers.PaymentOut)})
    def get(self, request: Request) -> Response:
        org = principal(request).org
        return answers.listing(request, Payment, "pay", lambda rows: queries.payments(org, rows), **own(request))


class Payments(ReadPayments):
    scopes = {"GET": "payments:read", "POST": "payments:write"}
    query_parameters = {"GET": PAGE, "POST": [_DRY]}

    @extend_schema(operation_id="payments_create", request=serializers.PaymentIn, responses=_PAID, parameters=[_KEY, PREFER])
    def post(self, request: Request) -> HttpResponse:
        caller = principal(request)
        if _dry(request):
            ask = serializers.ask(fields.read(serializers.PaymentIn, request))
            return Response(serializers.dry_run(payments.dry_run(caller, ask=ask), caller.livemode))
        key = answers.key(request, "payment")
        body = fields.read(serializers.PaymentIn, request)
        paid = payments.pay(caller, order=serializers.order(body, key))
        at_once = "respond-async" in request.headers.get("Prefer", "")
        return answering.answer(request._request, caller, paid, key, at_once=at_once).response()


class PaymentBatch(Endpoint):
    """Up to 128 payments at once: each is decided by itself and sees the ones before it; what is wrong with one stops no other."""

    scopes = {"POST": "payments:write"}

    @extend_schema(
        operation_id="payments_batch", request=serializers.BatchIn, responses={200: serializers.BatchOut}, parameters=[IDEMPOTENCY_KEY]
    )
    def post(self, request: Request) -> Response:
        caller, key = principal(request), answers.key(request, "batch")
        items = fields.read(serializers.BatchIn, request)["payments"]
        digest = canonical.sha256(canonical.dumps(items)).hex()
        batch = batches.receive(caller, list_sha256=digest, count=len(items), key=key)
        data = answering.batch(request._request, caller, [_read(item) for item in items])
        body = {"id": batch, "object": "payment_batch", "livemode": caller.livemode, "list_sha256": digest, "data": data}
        return Response(body)


def _read(item: object) -> Order | Exception:
    try:
        return serializers.batched(item)
    except (CodesparError, ValidationError) as error:
        return error


class PaymentDetail(Endpoint):
    scopes = {"GET": "payments:read"}

    @extend_schema(operation_id="payments_get", responses={200: serializers.PaymentOut})
    def get(self, request: Request, payment: str) -> Response:
        return Response(queries.payment(principal(request).org, _payment(request, payment).id))


class PaymentResource(Endpoint):
    """What the payment bought, as the merchant gave it: somebody else's bytes, to be kept and never shown by a browser as ours."""

    scopes = {"GET": "payments:read"}

    @extend_schema(operation_id="payments_resource", responses={(200, "*/*"): OpenApiTypes.ANY})
    def get(self, request: Request, payment: str) -> HttpResponse:
        row = _payment(request, payment)
        kind, body = queries.resource(principal(request), row)
        answer = HttpResponse(body, content_type=kind if _MEDIA_TYPE.fullmatch(kind) else _BYTES)
        for name, value in _KEPT.items():
            answer.headers[name] = value
        return answer


class PaymentCancel(Endpoint):
    """Only what has not left can be canceled; what has left is refunded."""

    scopes = {"POST": "payments:cancel"}

    @extend_schema(operation_id="payments_cancel", request=None, responses={200: serializers.PaymentOut})
    def post(self, request: Request, payment: str) -> Response:
        row = _to_change(request, payment, "payments_cancel")
        if row.status not in ("scheduled", "requires_approval", "authorized"):
            raise Conflict(f"The payment is {row.status}: only what has not left can be canceled.")
        caller = principal(request)
        payments.cancel(caller, payment=row.id, state=row.status, project=f"prj_{row.project_id.hex}")
        return Response(queries.payment(caller.org, row.id))


class PaymentRefund(Endpoint):
    scopes = {"POST": "payments:refund"}

    @extend_schema(
        operation_id="payments_refund", request=serializers.RefundIn, responses={201: serializers.RefundOut}, parameters=[IDEMPOTENCY_KEY]
    )
    def post(self, request: Request, payment: str) -> HttpResponse:
        key, row = answers.key(request, "refund"), _to_change(request, payment, "payments_refund")
        amount = _refund_amount(fields.read(serializers.RefundIn, request), row)
        caller = principal(request)
        act = lambda: refunds.request(caller, payment=row.id, amount=amount, idempotency=key)  # noqa: E731
        return answers.once(request, key, act, lambda made: (201, _refund(row, made)))


class PaymentApprove(Endpoint):
    """Finance says yes: the payment is decided again, now."""

    scopes = {"POST": "payments:approve"}

    @extend_schema(
        operation_id="payments_approve",
        request=None,
        responses={200: serializers.PaymentOut, _DENIED: serializers.DeniedOut},
        parameters=[IDEMPOTENCY_KEY],
    )
    def post(self, request: Request, payment: str) -> HttpResponse:
        key, row, caller = answers.key(request, "vote"), _to_change(request, payment, "payments_approve"), principal(request)
        approval = queries.approval_of(caller.org, row.id)
        act = lambda: votes.approve(caller, payment=row, approval=_needed(approval), idempotency=key) or None  # noqa: E731
        return answers.once(request, key, act, lambda made: _voted(request, made))


class PaymentDeny(Endpoint):
    """Finance says no, for ever."""

    scopes = {"POST": "payments:approve"}

    @extend_schema(
        operation_id="payments_deny", request=serializers.DenyIn, responses={200: serializers.PaymentOut}, parameters=[IDEMPOTENCY_KEY]
    )
    def post(self, request: Request, payment: str) -> HttpResponse:
        key, row, caller = answers.key(request, "vote"), _to_change(request, payment, "payments_deny"), principal(request)
        reason, approval = fields.read(serializers.DenyIn, request)["reason"], queries.approval_of(caller.org, row.id)
        act = lambda: votes.deny(caller, payment=row, approval=_needed(approval), reason=reason, idempotency=key) or None  # noqa: E731
        return answers.once(request, key, act, lambda made: (200, queries.payment(caller.org, _payment(request, made).id)))


class PaymentRulings(Endpoint):
    """One person says how a payment that needs a human ended. Nothing moves before another one confirms it."""

    scopes = {"POST": "payments:rule"}

    @extend_schema(operation_id="payments_rule", request=serializers.RulingIn, responses={201: serializers.RulingOut})
    def post(self, request: Request, payment: str) -> Response:
        row, body = _to_change(request, payment, "payments_rule"), fields.read(serializers.RulingIn, request)
        made = rulings.propose(principal(request), payment=row, **body)
        return Response(queries.ruling(row, made), status=201)


class RulingConfirm(Endpoint):
    """Another person agrees: the payment has ended."""

    scopes = {"POST": "payments:rule"}

    @extend_schema(operation_id="rulings_confirm", request=None, responses={200: serializers.RulingOut})
    def post(self, request: Request, ruling: str) -> Response:
        caller = principal(request)
        found = pages.one(Ruling, caller.org, pages.path_id(ruling, "rul", "ruling"), "ruling")
        # In the caller's mode, or it is nobody's.
        payment = pages.one(Payment, caller.org, found.payment_id, "ruling", livemode=caller.livemode)
        rulings.confirm(caller, payment=payment, ruling=found)
        return Response(queries.ruling(payment, found.id))


@extend_schema(exclude=True)
class Webhook(Endpoint):
    """Where rails send notices: stored raw and answered at once. The address carries the tenant; nothing in it is believed."""

    authentication_classes = ()
    permission_classes = ()

    def post(self, request: Request, rail: str, mode: str, org: str) -> HttpResponse:
        body = request._request.body
        if len(body) > webhooks.LARGEST or mode not in ("test", "live"):
            raise Invalid(f"A notice has at most {webhooks.LARGEST} bytes, and its address says test or live.")
        headers = {name.lower(): value for name, value in request.headers.items()}
        found = pages.path_id(org, "org", "organisation")
        webhooks.store(org=found, rail=rail, livemode=mode == "live", headers=headers, body=body)
        return HttpResponse(status=204)


def own(request: Request) -> dict[str, Any]:
    """Which payments this caller sees."""
    caller = principal(request)
    return {"livemode": caller.livemode, **({"agent_id": caller.agent} if caller.agent else {})}


def _dry(request: Request) -> bool:
    text = request.query_params.get("dry_run", "false")
    if text not in ("true", "false"):
        raise Invalid("dry_run is true or false.")
    return text == "true"


def _payment(request: Request, text: str) -> Payment:
    found: Payment = pages.one(Payment, principal(request).org, pages.path_id(text, "pay", "payment"), "payment", **own(request))
    return found


def _to_change(request: Request, text: str, operation: str) -> Payment:
    """A payment that somebody wants to change. Reaching for one that is not there for them is written down."""
    try:
        return _payment(request, text)
    except NotFound:
        acting.refused(principal(request), operation=operation, target=text[:80], now=clock.now())
        raise


def _refund(row: Payment, made: str) -> dict[str, Any]:
    return serializers.refund(pages.one(Refund, row.org_id, pages.path_id(made, "ref", "refund"), "refund"), row)


def _refund_amount(body: dict[str, Any], row: Payment) -> int:
    if "amount" not in body:
        return max(1, row.captured - row.refunded - row.refunding)
    if body["amount"]["currency"] != row.currency:
        raise Invalid(f"The payment was made in {row.currency}.", pointer="/amount/currency")
    return int(body["amount"]["amount"])


def _needed(approval: str | None) -> str:
    if approval is None:
        raise Conflict("This payment does not wait for a person.")
    return approval


def _voted(request: Request, made: str) -> tuple[int, Any]:
    caller = principal(request)
    shown = queries.payment(caller.org, pages.path_id(made, "pay", "payment"))
    if shown["status"] == "denied":
        return 403, answering.denied(request._request, caller.org, shown)
    return 200, shown
