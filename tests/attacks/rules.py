"""Every named rule of the database, and the test that attacks it. docs and `codespar invariants` name rules by these names."""

from tests.attacks import cases_alerts, cases_books, cases_consents, cases_mandates, cases_payments
from tests.attacks.cases_books import Case

CASES: dict[str, list[Case]] = {
    **cases_books.CASES,
    **cases_mandates.CASES,
    **cases_payments.CASES,
    **cases_consents.CASES,
    **cases_alerts.CASES,
}

_BY_HAND = "tests/attacks/test_forged_records.py::test_a_forged_record_is_refused_by_its_rule"
_EXPORT = "tests/audit/test_export.py::test_the_database_itself_refuses_a_record_of_another_range_or_of_texts_that_are_not_seen"
_RAIL = "tests/attacks/test_stolen_rail.py"

RULES: dict[str, str] = {
    **{rule: f"tests/attacks/test_rules.py::test_each_rule_refuses_by_its_name[{rule}]" for rule in CASES},
    # Rules that functions refuse by.
    "access_tokens_valid": _BY_HAND,
    "access_tokens_scope": _BY_HAND,
    "record_actor": _BY_HAND,
    "record_after": _BY_HAND,
    "record_elsewhere": _BY_HAND,
    "record_kind": _BY_HAND,
    "record_shape": _BY_HAND,
    "record_time": _BY_HAND,
    "ledger_openings_named": _BY_HAND,
    "payments_submit_by": _BY_HAND,
    "idempotency_key_required": _BY_HAND,
    "ledger_exports_range": _EXPORT,
    "ledger_exports_openings": _EXPORT,
    "reconciliations_running": f"{_RAIL}::test_a_run_that_is_over_stores_and_opens_nothing",
    "payment_rulings_open": "tests/journeys/test_rulings.py::test_one_person_alone_ends_nothing",
    "payment_rulings_moved": "tests/journeys/test_rulings.py::test_money_that_moved_after_its_hold_went_back_is_taken_from_what_the_wallet_has",
    "ruling_confirmations_pkey": "tests/journeys/test_rulings.py::test_one_person_alone_ends_nothing",
    "discrepancies_known": f"{_RAIL}::test_nobody_by_another_organisations_name_closes_a_case",
    "discrepancies_open": "tests/journeys/test_reconciliation.py::test_only_a_named_person_closes_a_case_once_and_with_a_reason",
    "payments_known": "tests/attacks/test_stolen_agent.py::test_another_agents_payment_is_not_canceled",
    "members_mode": "tests/api/test_scopes.py::test_a_test_token_does_nothing_to_a_member_who_holds_a_live_one",
    "payments_execute_at": "tests/attacks/test_stolen_agent.py::test_a_forged_schedule_is_for_a_time_to_come_and_never_paid",
    "payments_batch_size": "tests/attacks/test_stolen_agent.py::test_a_batch_of_another_size_is_refused",
    "rail_accounts_known": f"{_RAIL}::test_an_account_is_called_ready_only_by_checks_that_passed",
    "consents_for_rail": "tests/journeys/test_consents.py::test_a_forged_record_makes_no_consent_and_no_read",
    "consents_expires_later": "tests/journeys/test_consents.py::test_what_no_consent_can_be_is_refused",
    "consents_open": "tests/journeys/test_consents.py::test_a_revocation_holds_at_once_and_for_ever_and_says_why",
    "webhook_endpoints_known": "tests/attacks/test_stolen_console.py::test_another_modes_endpoint_is_nobodys",
    "webhook_endpoints_moved": "tests/attacks/test_stolen_console.py::test_a_record_does_what_its_kind_says_and_for_its_actor_alone",
    "webhook_endpoints_most": "tests/journeys/test_alerts.py::test_sixteen_endpoints_are_enough",
    "webhook_endpoints_replay": "tests/attacks/test_stolen_console.py::test_a_replay_begins_within_the_chain",
    "payments_proof": f"{_RAIL}::test_a_claim_without_its_proof_is_refused",
}

# Rows that are never changed, each by `<table>_append_only` (also its TRUNCATE, by the trigger `<table>_no_truncate`).
APPEND_ONLY = "tests/attacks/test_rules.py::test_rows_of_an_append_only_table_never_change"

# What makes rows rows, or names of columns agree: covered by one test that reads the catalog.
STRUCTURAL = {
    "consents_rail": "target of payments_consent and consent_reads_of",
    "stops_initiator": "target of stop_lifts_of",
    "accounts_leg": "target of transfers_debit and transfers_credit",
    "accounts_holder": "target of holds_wallet and payments_wallet",
    "holds_amount_key": "target of hold_resolutions_hold",
    "mandates_terms": "target of holds_mandate",
    "mandates_project": "target of payments_mandate",
    "counterparties_livemode": "target of payments_counterparty",
    "payment_rulings_proposer": "target of ruling_confirmations_of",
    "policies_livemode": "policies are named with their mode",
    "transfers_books": "trigger that moves balances: attacked through accounts_available",
    "holds_books": "trigger that moves balances: attacked through accounts_available",
    "hold_resolutions_books": "trigger of hold_resolutions_transfer",
    "transfers_agent_of": "trigger that derives the agent of transfers_mandate_agent",
    "transfers_agent": "what transfers_agent_of derives: attacked through transfers_mandate_agent",
    "payments_no_truncate": "TRUNCATE of payments: test_what_only_grows_is_not_removed_either",
    "payments_moves": "trigger of payment_transitions_allowed",
    "rail_accounts_reconciled": "trigger that begins reconciliation: tests/journeys/test_reconciliation.py sees what it begins",
}
