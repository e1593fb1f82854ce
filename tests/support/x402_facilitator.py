"""The facilitator of the package x402 as a process: it verifies payments, and gives them to the chain.

    python -m tests.support.x402_facilitator <node's address> <chain> <private key that pays the gas>

`POST /_control {"before": 3}` makes it wait so many seconds before it settles; `after`, before it says so. It also forgets the count of its
transactions, which is wrong after a reorganisation.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from flask import Flask, request
from x402 import x402FacilitatorSync
from x402.mechanisms.evm import FacilitatorWeb3Signer
from x402.mechanisms.evm.exact.register import register_exact_evm_facilitator
from x402.schemas import PaymentPayload, PaymentRequirements

from tests.support.evm import serve


def app_for(node: str, chain: str, key: str) -> Flask:
    def fresh() -> x402FacilitatorSync:
        return register_exact_evm_facilitator(x402FacilitatorSync(), FacilitatorWeb3Signer(key, node), f"eip155:{chain}")

    # Two transactions of one address need an order.
    app, waits, works, turn = Flask(__name__), dict[str, float](), [fresh()], threading.Lock()

    def asked() -> tuple[PaymentPayload, PaymentRequirements]:
        body = request.get_json()
        return PaymentPayload.model_validate(body["paymentPayload"]), PaymentRequirements.model_validate(body["paymentRequirements"])

    @app.get("/supported")
    def supported() -> Any:
        return works[0].get_supported().model_dump(by_alias=True, exclude_none=True)

    @app.post("/verify")
    def verify() -> Any:
        return works[0].verify(*asked()).model_dump(by_alias=True, exclude_none=True)

    @app.post("/settle")
    def settle() -> Any:
        time.sleep(waits.get("before", 0))
        with turn:
            made = works[0].settle(*asked()).model_dump(by_alias=True, exclude_none=True)
        time.sleep(waits.get("after", 0))
        return made

    @app.post("/_control")
    def control() -> Any:
        works[0] = fresh()
        waits.clear()
        waits.update(request.get_json())
        return {}

    return app


if __name__ == "__main__":
    serve(app_for(*sys.argv[1:4]))
