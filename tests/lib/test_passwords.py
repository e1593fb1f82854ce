"""Which names are a person's credential, and which only look like one."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codespar.lib import passwords

CREDENTIALS = (
    *("password", "Password", "PASSWORD", "user_password", "userPassword", "user-password", "user password", "userpassword", "passwd"),
    *(
        "passwordConfirmation",
        "new.password",
        "pass",
        "db_pass",
        "pwd",
        "passphrase",
        "passcode",
        "p\u200ba\u00adssword",
        "ｐａｓｓｗｏｒｄ",
        "passw\u0301ord",
    ),
    *("senha", "SENHA", "senhaDoBanco", "senha_6", "senha6", "minhasenha", "novaSenha", "Kennwort", "contraseña", "mot de passe"),
    *("pin", "PIN", "pin_code", "cardPin", "cardpin", "pin4", "otp", "otp_code", "smsOTP", "totp", "cvv", "CVV2", "card_cvv", "cvc"),
    *("security answer", "securityAnswer", "security_answer_1", "secret-question", "verification_code", "mfaCode", "one_time_code"),
    *("código de segurança", "mother's maiden name", "seed_phrase", "senha~/x"),
)
OTHERS = (
    *("shipping", "opinion", "spin", "topping", "desenho", "desenhada", "resenha", "compass", "passenger", "passport", "bypass", "passed"),
    *("pinned", "stop", "option", "laptop", "token", "secret", "secrets", "api_key", "webhook_secret", "private_key", "code", "codes"),
    *("key", "keys", "answer", "question", "security", "amount", "memo", "zip_code", "country_code", "reason", "verification", "tank", ""),
)


@pytest.mark.parametrize("name", CREDENTIALS)
def test_a_persons_credential_is_known_by_its_name_however_it_is_written(name: str) -> None:
    assert passwords.is_credential(name)
    assert passwords.find({name: None}) == ["/" + name.replace("~", "~0").replace("/", "~1")]


@pytest.mark.parametrize("name", OTHERS)
def test_a_name_that_only_looks_like_one_is_none(name: str) -> None:
    assert not passwords.is_credential(name)


def test_it_is_found_at_any_depth_and_told_where_it_stands() -> None:
    body = {"a": [{"b": {"senha": 1}}, {"pin": [{"otp": 2}]}], "c": {"ok": "password"}}
    assert passwords.find(body) == ["/a/0/b/senha", "/a/1/pin", "/a/1/pin/0/otp"]


def test_a_card_number_in_such_a_name_is_masked_in_the_pointer() -> None:
    assert passwords.find({"pin 4111111111111111": 1}) == ["/pin ****1111"]


@given(st.text(max_size=40), st.text(max_size=40))
def test_letters_that_are_nothing_else_count_wherever_they_stand(before: str, after: str) -> None:
    # A combining mark or an invisible character of its own would not change that either.
    assert passwords.is_credential(f"{before}_password_{after}")


@given(st.text(max_size=400))
def test_any_name_is_judged_the_same_in_either_case(name: str) -> None:
    assert passwords.is_credential(name) == passwords.is_credential(name.swapcase()) or not name.isascii() or name != name.lower()


def test_no_member_that_the_contract_takes_is_one() -> None:
    """What the API asks for it must be able to take, the credentials of machines included."""
    taken: set[str] = set()
    for service in ("api", "console"):
        found = json.loads((Path(__file__).parents[2] / "docs" / f"openapi.{service}.json").read_text())
        for schema in found["components"]["schemas"].values():
            taken |= set(schema.get("properties", {}))
    assert {"api_key", "webhook_secret", "secrets", "token"} <= taken
    assert [name for name in sorted(taken) if passwords.is_credential(name)] == []


def test_no_secret_that_a_rail_declares_is_one() -> None:
    from rails.adapters import ADAPTERS

    names = {name for adapter in ADAPTERS.values() for name in (*adapter.capabilities.secrets, *adapter.capabilities.optional)}
    assert "api_key" in names
    assert [name for name in sorted(names) if passwords.is_credential(name)] == []
