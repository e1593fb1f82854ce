"""The REST contract only grows: what a released document promised, the next one still promises."""

import json
from typing import Any

from codespar.checks.documents import ROOT


def breaks() -> list[str]:
    """What the committed contract of the last release promised and today's does not. Without a release there is nothing to break."""
    faults: list[str] = []
    for service in ("api", "console"):
        released = ROOT / "docs" / "released" / f"openapi.{service}.json"
        current = ROOT / "docs" / f"openapi.{service}.json"
        if released.exists() and current.exists():
            faults += compare(json.loads(released.read_text()), json.loads(current.read_text()))
    return faults


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Operations and answers that are gone, and request members that became mandatory."""
    faults = []
    for path, methods in old["paths"].items():
        for method, operation in methods.items():
            found = new["paths"].get(path, {}).get(method)
            if found is None:
                faults.append(f"{method.upper()} {path} is gone from the contract.")
                continue
            gone = sorted(set(operation["responses"]) - set(found["responses"]))
            faults += [f"{method.upper()} {path} no longer answers {status}." for status in gone]
    for name, schema in old["components"]["schemas"].items():
        found = new["components"]["schemas"].get(name, {})
        added = sorted(set(found.get("required", [])) - set(schema.get("required", [])))
        if name.endswith("Request"):
            faults += [f"{name}.{member} became mandatory." for member in added]
        else:
            gone = sorted(set(schema.get("properties", {})) - set(found.get("properties", {})))
            faults += [f"{name}.{member} is gone from answers." for member in gone]
    return faults
