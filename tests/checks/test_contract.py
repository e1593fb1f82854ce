"""What breaks a released contract is named; what is added breaks nothing."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from codespar.checks import contract

Json = dict[str, Any]
Change = Callable[[Json], object]

RELEASED: Json = {
    "paths": {
        "/v1/things": {
            "get": {
                "parameters": [{"in": "query", "name": "limit", "schema": {"type": "integer", "minimum": 1, "maximum": 100}}],
                "responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/ThingOut"}}}}},
            },
            "post": {
                "parameters": [{"in": "header", "name": "Key", "required": True, "schema": {"type": "string"}}],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ThingInRequest"}}},
                },
                "responses": {
                    "201": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/ThingOut"}}}},
                    "400": {"content": {"application/problem+json": {"schema": {"type": "object"}}}},
                },
            },
        },
    },
    "components": {
        "schemas": {
            "ThingInRequest": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "maxLength": 100},
                    "kind": {"type": "string", "enum": ["a", "b"]},
                    "size": {"type": ["integer", "null"]},
                    "tags": {"type": "array", "items": {"type": "string", "maxLength": 9}},
                },
                "required": ["name"],
            },
            "ThingOut": {
                "type": "object",
                "properties": {"id": {"type": "string"}, "size": {"type": "integer"}, "state": {"type": "string", "enum": ["on", "off"]}},
                "required": ["id", "size"],
            },
        }
    },
}


def asked(document: Json) -> Json:
    return dict(document["components"]["schemas"]["ThingInRequest"]["properties"])


def answered(document: Json) -> Json:
    return dict(document["components"]["schemas"]["ThingOut"]["properties"])


def schema(document: Json, name: str) -> Json:
    found: Json = document["components"]["schemas"][name]
    return found


def operation(document: Json, method: str) -> Json:
    found: Json = document["paths"]["/v1/things"][method]
    return found


BREAKS: dict[str, tuple[Change, str]] = {
    "a removed path": (lambda d: d["paths"].pop("/v1/things"), "GET /v1/things is gone"),
    "a removed method": (lambda d: d["paths"]["/v1/things"].pop("post"), "POST /v1/things is gone"),
    "a removed answer": (lambda d: operation(d, "post")["responses"].pop("201"), "no longer answers 201"),
    "an answer of another type": (
        lambda d: operation(d, "post")["responses"]["400"].update(content={"text/plain": {}}),
        "no longer answers 400 as application/problem+json",
    ),
    "an answer of another schema": (
        lambda d: operation(d, "get")["responses"]["200"]["content"]["application/json"]["schema"].update({"$ref": "#/other"}),
        "GET /v1/things 200 is another object",
    ),
    "a removed member of an answer": (lambda d: schema(d, "ThingOut")["properties"].pop("size"), "ThingOut.size is gone"),
    "a member that may be missing": (lambda d: schema(d, "ThingOut").update(required=["id"]), "ThingOut.size may be missing"),
    "another type in an answer": (lambda d: answered(d)["size"].update(type=["integer", "null"]), "ThingOut.size has another type"),
    "a value gone from an answer": (lambda d: answered(d)["state"].update(enum=["on"]), "ThingOut.state no longer knows 'off'"),
    "a new mandatory member": (
        lambda d: schema(d, "ThingInRequest").update(required=["name", "kind"]),
        "ThingInRequest.kind became mandatory",
    ),
    "a removed member of a request": (lambda d: schema(d, "ThingInRequest")["properties"].pop("kind"), "ThingInRequest.kind is gone"),
    "a request's enum with a value less": (lambda d: asked(d)["kind"].update(enum=["a"]), "ThingInRequest.kind no longer knows 'b'"),
    "an enum where there was none": (lambda d: asked(d)["name"].update(enum=["x"]), "ThingInRequest.name takes some values only"),
    "a request's type narrowed": (lambda d: asked(d)["size"].update(type="integer"), "ThingInRequest.size has another type"),
    "a request's type replaced": (lambda d: asked(d)["name"].update(type="integer"), "ThingInRequest.name has another type"),
    "a bound narrowed": (lambda d: asked(d)["name"].update(maxLength=50), "ThingInRequest.name has another maxLength"),
    "a bound of a list's items": (lambda d: asked(d)["tags"]["items"].update(maxLength=8), "ThingInRequest.tags.[] has another maxLength"),
    "a pattern where there was none": (lambda d: asked(d)["name"].update(pattern="^x$"), "ThingInRequest.name has another pattern"),
    "strictness where there was none": (lambda d: schema(d, "ThingInRequest").update(additionalProperties=False), "refuses members"),
    "a removed schema": (lambda d: d["components"]["schemas"].pop("ThingOut"), "ThingOut is gone"),
    "a removed parameter": (lambda d: operation(d, "get").pop("parameters"), "no longer takes the query parameter limit"),
    "a narrowed parameter": (
        lambda d: operation(d, "get")["parameters"][0]["schema"].update(maximum=50),
        "query parameter limit has another maximum",
    ),
    "a parameter that became mandatory": (
        lambda d: operation(d, "get")["parameters"][0].update(required=True),
        "needs the query parameter limit",
    ),
    "a new mandatory parameter": (
        lambda d: operation(d, "get")["parameters"].append({"in": "header", "name": "X", "required": True}),
        "needs the header parameter X",
    ),
    "a body of another type": (
        lambda d: operation(d, "post")["requestBody"].update(content={"text/plain": {}}),
        "no longer takes application/json",
    ),
}

GROWS: dict[str, Change] = {
    "nothing": lambda d: None,
    "a path": lambda d: d["paths"].update({"/v1/others": {"get": {"responses": {"200": {}}}}}),
    "a method": lambda d: d["paths"]["/v1/things"].update(delete={"responses": {"204": {}}}),
    "an answer": lambda d: operation(d, "get")["responses"].update({"404": {}}),
    "an optional parameter": lambda d: operation(d, "get")["parameters"].append({"in": "query", "name": "x", "schema": {"type": "string"}}),
    "a parameter that need not be": lambda d: operation(d, "post")["parameters"][0].update(required=False),
    "an optional member of a request": lambda d: schema(d, "ThingInRequest")["properties"].update(more={"type": "string"}),
    "a member that need not be": lambda d: schema(d, "ThingInRequest").update(required=[]),
    "a value that is taken": lambda d: asked(d)["kind"].update(enum=["a", "b", "c"]),
    "any value taken": lambda d: asked(d)["kind"].pop("enum"),
    "a wider type": lambda d: asked(d)["name"].update(type=["string", "null"]),
    "integers as numbers": lambda d: asked(d)["size"].update(type=["number", "null"]),
    "a wider bound": lambda d: asked(d)["name"].update(maxLength=200),
    "a member of an answer": lambda d: schema(d, "ThingOut")["properties"].update(more={"type": "string"}),
    "a member that is always there": lambda d: schema(d, "ThingOut").update(required=["id", "size", "state"]),
    "a value in an answer": lambda d: answered(d)["state"].update(enum=["on", "off", "idle"]),
    "a description": lambda d: answered(d)["state"].update(description="What it is."),
}


def changed(change: Change) -> Json:
    document = copy.deepcopy(RELEASED)
    change(document)
    return document


@pytest.mark.parametrize("name", BREAKS)
def test_what_takes_something_away_is_a_break(name: str) -> None:
    change, said = BREAKS[name]
    found = contract.compare(RELEASED, changed(change))
    assert any(said in fault for fault in found), found


@pytest.mark.parametrize("name", GROWS)
def test_what_adds_something_breaks_nothing(name: str) -> None:
    assert contract.compare(RELEASED, changed(GROWS[name])) == []


def test_a_break_of_the_released_document_is_found_where_it_stands(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "ROOT", tmp_path)
    (tmp_path / "docs" / "released").mkdir(parents=True)
    (tmp_path / "docs" / "openapi.api.json").write_text(json.dumps(changed(BREAKS["a removed path"][0])))
    assert contract.breaks() == [], "nothing was released"
    (tmp_path / "docs" / "released" / "openapi.api.json").write_text(json.dumps(RELEASED))
    assert contract.breaks() == ["GET /v1/things is gone from the contract.", "POST /v1/things is gone from the contract."]


@pytest.mark.parametrize("service", ["api", "console"])
def test_the_committed_contract_does_not_break_itself(service: str) -> None:
    document = json.loads((contract.ROOT / "docs" / f"openapi.{service}.json").read_text())
    assert contract.compare(document, document) == []
