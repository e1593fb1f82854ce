"""A merchant as a process: the package x402's own middleware in front of a resource at `/weather`, and of one at `/sold/<price>`.

    python -m tests.support.x402_merchant <facilitator's address> <chain> <token> <payee's address>

`POST /_control` changes what it asks for: amount, asset, network, pay_to. `GET /_paid` lists the payments that it was given.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from typing import Any

from flask import Flask, request
from x402 import x402ResourceServerSync
from x402.extensions.payment_identifier import (
    PAYMENT_IDENTIFIER,
    declare_payment_identifier_extension,
    payment_identifier_resource_server_extension,
)
from x402.http import FacilitatorConfig, HTTPFacilitatorClientSync
from x402.http.middleware.flask import PaymentMiddleware
from x402.http.types import PaymentOption, RouteConfig
from x402.mechanisms.evm.exact.register import register_exact_evm_server

from tests.support.evm import serve

RESOURCE = {"weather": "fine", "degrees": 21}


def app_for(facilitator: str, chain: str, token: str, payee: str) -> Flask:
    app = Flask(__name__)
    usual: dict[str, Any] = {"amount": "1500", "asset": token, "pay_to": payee}
    asks, paid = dict(usual), list[dict[str, Any]]()
    client = HTTPFacilitatorClientSync(FacilitatorConfig(url=facilitator, timeout=20))
    server = register_exact_evm_server(x402ResourceServerSync(client), f"eip155:{chain}")
    server.register_extension(payment_identifier_resource_server_extension)

    def price(context: Any) -> Any:
        named = re.fullmatch("/sold/([0-9]+)", context.path)
        return {"amount": named[1] if named else asks["amount"], "asset": asks["asset"], "extra": {"name": "Test Dollar", "version": "2"}}

    option = PaymentOption("exact", lambda _context: asks["pay_to"], price, f"eip155:{chain}", max_timeout_seconds=60)
    route = RouteConfig(accepts=option, extensions={PAYMENT_IDENTIFIER: declare_payment_identifier_extension(required=True)})

    @app.get("/weather")
    def weather() -> Any:
        return RESOURCE

    @app.get("/sold/<price>")
    def sold(price: str) -> Any:
        return {"price": price}

    @app.get("/_paid")
    def seen() -> Any:
        return paid

    @app.post("/_control")
    def control() -> Any:
        asks.clear()
        asks.update(usual | request.get_json())
        return {}

    PaymentMiddleware(app, {"GET /weather": route, "GET /sold/*": route}, server)
    inner = app.wsgi_app

    def noted(environ: Any, start: Any) -> Any:
        if found := environ.get("HTTP_PAYMENT_SIGNATURE"):
            paid.append(json.loads(base64.b64decode(found)))
        return inner(environ, start)

    app.wsgi_app = noted
    return app


if __name__ == "__main__":
    serve(app_for(*sys.argv[1:5]))
