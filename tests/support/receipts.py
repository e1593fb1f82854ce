"""Receipts of stops and revocations, as anybody who holds one reads it."""

import json
from typing import Any

import httpx2

from codespar.lib import sdjwt
from tests.support.world import World


def claims(world: World, receipt: str) -> dict[str, Any]:
    """What a receipt says, verified with nothing but the published keys."""
    header = json.loads(sdjwt.decode(receipt.split(".")[0]))
    keys = httpx2.get(f"{world.info.base_url}/.well-known/jwks.json").json()["keys"]
    found = next(key for key in keys if key["kid"] == header["kid"])
    public = sdjwt.public_key({name: found[name] for name in ("kty", "crv", "x", "y")})
    return {"typ": header["typ"], **sdjwt.claims(sdjwt.parse(receipt), key=public)}


def stopped(answer: httpx2.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"], body["payment"]["status"]) == (403, "stopped", "denied"), answer.text
    return body
