"""The table of settings says what `codespar/config.py` does: every variable, its default and its bounds."""

import annotated_types
import pytest
from pydantic.fields import FieldInfo

from codespar.config import Config
from tests.docs.reading import ROOT, rows

TABLE = {
    row[0].strip("`").removeprefix("CODESPAR_").lower(): row[1:]
    for row in rows((ROOT / "docs" / "operating.md").read_text())
    if row[0].startswith("`CODESPAR_") and len(row) == 3
}


def bounds(field: FieldInfo) -> tuple[str, str] | None:
    """The smallest and the largest value, as the table writes them."""
    low = next((f"{m.ge:,}" for m in field.metadata if isinstance(m, annotated_types.Ge)), None)
    low = low or next((f"more than {m.gt:,}" for m in field.metadata if isinstance(m, annotated_types.Gt)), None)
    high = next((f"{m.le:,}" for m in field.metadata if isinstance(m, annotated_types.Le)), None)
    return (low, high) if low and high else None


def test_every_variable_has_its_row_and_its_default() -> None:
    assert set(TABLE) == set(Config.model_fields)
    for name, field in Config.model_fields.items():
        if field.is_required() or field.default in ("", None):
            assert TABLE[name][0].startswith("needed") or TABLE[name][0] == "–", name
        else:
            assert TABLE[name][0] == f"`{field.default}`", name


@pytest.mark.parametrize("name", [name for name, field in Config.model_fields.items() if bounds(field)])
def test_a_number_has_its_bounds(name: str) -> None:
    found = bounds(Config.model_fields[name])
    assert found is not None and TABLE[name][1].endswith(f"; {found[0]} to {found[1]}"), f"{name}: {found}"
