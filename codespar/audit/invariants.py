"""What the database promises: every named rule, and the sentence that it keeps. A test compares this with the live catalog."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of one table. `kind`: check, unique, foreign key, trigger or policy."""

    table: str
    kind: str
    promise: str


_CHECKS = {
    "organisations": {"organisations_name": "An organisation has a name."},
    "agents": {"agents_public_key": "An agent's key is a public P-256 key; a private one is never stored."},
    "members": {
        "members_roles": "A member has roles, all of them known ones.",
        "members_email_lower": "An e-mail address has an @ and is kept in lower case, so that nobody is a member twice.",
    },
    "access_tokens": {
        "access_tokens_principal": "A token is an agent's or a member's, never both, never nobody's.",
        "access_tokens_scopes": "A token says what it can do.",
        "access_tokens_digest_size": "Tokens are kept as digests of 32 bytes, never as text.",
    },
    "private_keys": {
        "private_keys_purpose": "A key signs records or mandates, never both.",
        "private_keys_public": "The public half holds no private member and has the key's own id.",
    },
    "accounts": {
        "accounts_kind": "An account is of a known kind.",
        "accounts_wallet_agent": "A wallet belongs to one agent of one project; no other account does.",
        "accounts_balance_kinds": "Wallets and main accounts have a balance of their own; hot accounts have none.",
        "accounts_available": "Nothing is spent that is not there.",
        "accounts_held": "No more is released or captured than was held.",
        "accounts_main_held": "The main account holds nothing for any payment.",
        "accounts_currency": "A currency is a code of three capitals.",
    },
    "transfers": {
        "transfers_agent": "A debit of a wallet names the wallet's agent.",
        "transfers_amount": "A transfer moves a positive amount.",
        "transfers_two_accounts": "A transfer has two different accounts: it sums to zero by itself.",
        "transfers_kind": "Money goes only where its kind of transfer goes.",
        "transfers_mandate": "No debit of an agent's wallet without a mandate, but for money that goes home to the main account.",
        "transfers_main_stays_home": "The organisation's main account has no path to a rail.",
        "transfers_held": "Only a capture takes from what is held.",
    },
    "holds": {"holds_amount": "A hold sets a positive amount aside."},
    "hold_resolutions": {"hold_resolutions_sum": "What is captured and what is released make up the hold, to the last unit."},
    "credits": {
        "credits_direction": "A credit is money that came in.",
        "credits_status": "A credit is pending, confirmed or refused.",
        "credits_confirmed": "A confirmed credit has an amount, a currency and a record.",
    },
    "idempotency_keys": {
        "idempotency_keys_sizes": "Keys and fingerprints are kept as digests of 32 bytes.",
        "idempotency_keys_frozen": "An answer is frozen whole: status, body and time, or none of them.",
        "idempotency_keys_status": "An answer of this service's own failure is never frozen.",
    },
    "counterparties": {
        "counterparties_status": "A counterparty is proposed, confirmed or retired.",
        "counterparties_country": "A country is a code of two capitals.",
        "counterparties_category": "A category is written in one form.",
        "counterparties_name": "A counterparty has a name.",
    },
    "scope_states": {
        "scope_states_scope": "Only a known kind of scope is stopped or revoked.",
        "scope_states_epoch": "Revocations are counted from zero.",
    },
    "platform_states": {
        "platform_states_scope": "Only the platform and its rails have a state of their own.",
        "platform_states_epoch": "Revocations are counted from zero.",
    },
    "mandates": {
        "mandates_profile": "A mandate is of a known profile.",
        "mandates_amounts": "A mandate's caps are positive.",
        "mandates_validity": "A mandate ends after it begins.",
        "mandates_lists": "A list in a mandate names somebody or something: an empty one is not 'all'.",
    },
    "mandate_usages": {
        "mandate_usages_budget": "A mandate never spends more than its budget, held money included.",
        "mandate_usages_uses": "A mandate is never used more often than it says.",
    },
    "stops": {
        "stops_scope": "Only a known kind of scope is stopped.",
        "stops_everybody": "Only the platform and a rail are stopped for everybody.",
    },
    "stop_lifts": {"stop_lifts_another_person": "Who stops does not lift: another person does."},
    "revocations": {
        "revocations_scope": "A revocation is of a mandate, an agent, a project, the organisation or the platform.",
        "revocations_everybody": "Only the platform is revoked for everybody.",
    },
    "policies": {"policies_scope": "A policy is of the organisation, a project or an agent."},
    "policy_versions": {"policy_versions_version": "Versions are counted from one."},
    "policy_activations": {"policy_activations_state": "A policy is active, in shadow or retired."},
    "policy_rules": {
        "policy_rules_effect": "A rule has an effect that is enforced.",
        "policy_rules_limit": "A limit has a window, a currency and something that it limits.",
        "policy_rules_window": "A limit counts in a window that is enforced.",
        "policy_rules_per": "A limit counts per something that is enforced.",
        "policy_rules_fingerprint": "Only the rule against the same payment twice has a time span.",
    },
    "counters": {
        "counters_window": "A counter counts in a window that is enforced.",
        "counters_amount": "No more is given back to a counter than it counted.",
    },
    "consents": {
        "consents_status": "A consent is in a known state.",
        "consents_scopes": "A consent is to read or to pay, never both, and allows what is known here.",
        "consents_limits": "A consent to pay says how much: of one payment, and of all.",
        "consents_expiry": "A consent ends within a year.",
        "consents_known": "What a holder is asked is known to the provider.",
        "consents_revoked": "A revocation says when it was, and only what was revoked is told as such.",
        "consents_due": "No consent is forgotten: the provider is asked, or told, until it has said.",
    },
    "consent_reads": {
        "consent_reads_resource": "What is read under a consent is of a known kind.",
        "consent_reads_status": "A look into an account is asked for, answered or refused.",
        "consent_reads_answer": "Only a look that was answered has an answer.",
    },
    "rail_accounts": {"rail_accounts_ready": "An account is ready only when it was checked, and no check failed."},
    "decisions": {
        "decisions_outcome": "A decision allows, denies or asks a person.",
        "decisions_code": "A refusal has a code, and nothing else has one.",
    },
    "payments": {
        "payments_amount": "A payment is of a positive amount.",
        "payments_mandated": "Whatever is not denied names its mandate, wallet, counterparty and rail.",
        "payments_scheduled": "A scheduled payment has its time, and names who pays whom.",
        "payments_held": "Whatever may move money has its hold.",
        "payments_captured": "No more is captured than was asked for.",
        "payments_refunds": "No more is given back than was captured, counting what is on its way.",
        "payments_texts": "What an agent wrote beside a payment stands in it as a commitment only.",
        "payments_stage": "What the rail has is known, or is nothing yet.",
        "payments_due": "A payment that is not over is on somebody's list: none is forgotten.",
    },
    "approvals": {"approvals_life": "An approval that nobody gives dies within 24 hours."},
    "approval_votes": {"approval_votes_verdict": "A vote is a yes or a no."},
    "refunds": {
        "refunds_amount": "A refund is of a positive amount.",
        "refunds_status": "A refund is in a known state.",
    },
    "attempts": {
        "attempts_operation": "An attempt pays, captures, cancels or refunds, and only a refund's names a refund.",
        "attempts_send_by": "An attempt that has not left within a minute never leaves.",
        "attempts_submit_by": "A payment leaves before what allowed it closes, or not at all.",
    },
    "payment_rulings": {"payment_rulings_outcome": "Who rules says that the payment settled, failed, or is written off."},
    "ruling_confirmations": {"ruling_confirmations_another_person": "How a payment ended is said by two people, never by one."},
    "reconciliations": {
        "reconciliations_status": "A look at the provider's records is under way, done, or has failed.",
        "reconciliations_finished": "What is over says when.",
    },
    "statement_lines": {"statement_lines_kind": "A line of a statement is of a known kind."},
    "discrepancies": {"discrepancies_kind": "What does not agree is named by its kind."},
    "discrepancy_resolutions": {"discrepancy_resolutions_verdict": "Who closes a discrepancy says whose records were right."},
    "breaker_changes": {
        "breaker_changes_reason": "A breaker opens because its rail fails, or answers what was not agreed.",
        "breaker_changes_states": "A breaker changes from one known state to another.",
    },
    "attempt_results": {
        "attempt_results_source": "A result comes from an answer, a query or the sweeper.",
        "attempt_results_result": "A result is a known one; a timeout is unknown.",
        "attempt_results_moved": "How much had moved is told of what was accepted or canceled, and is no debt.",
        "attempt_results_proof": "A hold is released on a known kind of proof.",
    },
    "webhook_messages": {
        "webhook_messages_status": "A notice is received, verified or refused.",
        "webhook_messages_size": "A notice has at most 64 KiB.",
    },
    "webhook_endpoints": {
        "webhook_endpoints_url": "People are told over TLS, or on this very machine.",
        "webhook_endpoints_types": "An endpoint is told of something, and of nothing that there is not.",
        "webhook_endpoints_status": "An endpoint is enabled, disabled, gone or deleted.",
    },
    "webhook_deliveries": {
        "webhook_deliveries_status": "A delivery waits, was heard, or was given up.",
        "webhook_deliveries_next": "A delivery that was not heard has its time: none is forgotten.",
        "webhook_deliveries_heard": "A delivery was heard when its receiver said so.",
    },
    "ledger_rewinds": {"ledger_rewinds_behind": "A chain was set back when it ends before what was sealed of it."},
    "deployment": {
        "deployment_one": "A database belongs to one deployment.",
        "deployment_name": "A deployment is named like a host.",
    },
    "ledger_entries": {
        "ledger_entries_positive": "Entries are counted from one.",
        "ledger_entries_sizes": "Hashes have 32 bytes, signatures 64: none is stripped or cut.",
        "ledger_entries_leaf": "An entry's hash is the hash of its leaf.",
    },
    "ledger_heads": {"ledger_heads_sizes": "A head is a seq and a whole hash."},
    "ledger_openings": {
        "ledger_openings_salt": "Every commitment has its own 32 bytes of salt.",
        "ledger_openings_commit": "An opening opens its commitment.",
    },
    "ledger_checkpoints": {"ledger_checkpoints_size": "A checkpoint seals something."},
}

_UNIQUE = {
    "projects": {
        "projects_livemode": "A row can name a project together with its mode.",
        "projects_name": "Projects of one mode have different names.",
    },
    "agents": {
        "agents_key": "Every agent of an organisation has a key of its own.",
        "agents_name": "Agents of one project have different names.",
        "agents_livemode": "A row can name an agent together with its mode.",
        "agents_project": "A row can name an agent together with its project.",
    },
    "stops": {"stops_initiator": "A lift can name a stop together with who set it."},
    "members": {"members_email": "A person is a member of an organisation once."},
    "access_tokens": {"access_tokens_digest": "A token is one principal's."},
    "private_keys": {
        "private_keys_kid": "A key id names one key.",
        "private_keys_current": "There is one current key for each purpose.",
    },
    "rail_accounts": {
        "rail_accounts_one": "An organisation has one account at a rail in each mode.",
        "rail_accounts_account": "A provider account is registered once.",
    },
    "consents": {
        "consents_rail": "A payment and a look name a consent together with its rail and mode.",
        "consents_provider": "The provider's own id belongs to one consent.",
    },
    "accounts": {
        "accounts_one_each": "An agent has one wallet in a currency, an organisation one account of each other kind.",
        "accounts_leg": "A transfer's leg can name an account together with its kind, mode and currency.",
        "accounts_holder": "A hold can name a wallet together with its agent, mode and currency.",
    },
    "holds": {
        "holds_payment": "A payment holds money once.",
        "holds_amount_key": "A resolution can name a hold together with its amount.",
    },
    "credits": {"credits_once": "A credit is booked once, however often the provider tells of it."},
    "counterparties": {"counterparties_livemode": "A payment can name a counterparty together with its mode."},
    "mandates": {
        "mandates_terms": "A hold can name a mandate together with its agent, mode and currency.",
        "mandates_project": "A payment can name a mandate together with its project.",
    },
    "policies": {
        "policies_livemode": "A row can name a policy together with its mode.",
        "policies_one_a_scope": "A scope has one policy in each mode.",
    },
    "payments": {
        "payments_rail_key": "One request is one payment at the rail.",
        "payments_transaction": "One transaction of a mandate pays once, for ever.",
        "payments_presentation": "One presentation of a mandate pays once, for ever.",
        "payments_provider": "The provider's own id belongs to one payment.",
        "payments_rail_ref": "A key that a rail was told belongs to one payment.",
    },
    "approvals": {"approvals_payment": "A payment asks for approval once."},
    "refunds": {
        "refunds_rail_key": "One request is one refund at the rail.",
        "refunds_provider": "The provider's own id belongs to one refund.",
        "refunds_rail_ref": "A key that a rail was told belongs to one refund.",
    },
    "payment_rulings": {"payment_rulings_proposer": "A confirmation can name a ruling together with who proposed it."},
    "statement_lines": {"statement_lines_current": "Of what a provider told of a line, one version is what it tells now."},
    "discrepancies": {"discrepancies_once": "One thing that does not agree is one case of a kind, for ever."},
    "attempts": {"attempts_once": "A payment, and each of its refunds, is sent once: never retried."},
    "webhook_messages": {"webhook_messages_once": "A notice is worked on once."},
    "webhook_secrets": {"webhook_secrets_current": "An endpoint has one secret that has no end."},
    "ledger_entries": {
        "ledger_entries_seq": "A place in the chain has one entry.",
        "ledger_entries_prev": "An entry has one successor: the chain does not fork.",
    },
}

_FOREIGN = {
    "consents": {"consents_account": "A consent is of an account of the organisation's own, in its mode."},
    "consent_reads": {"consent_reads_of": "A look is under a consent of the organisation, of its rail and mode."},
    "payment_rulings": {
        "payment_rulings_of": "A ruling is on a payment of the organisation.",
        "payment_rulings_member": "Who rules is a member of the organisation.",
    },
    "ruling_confirmations": {
        "ruling_confirmations_of": "What is confirmed is a ruling of the organisation, on its payment, and names who proposed it.",
        "ruling_confirmations_member": "Who confirms is a member of the organisation.",
    },
    "reconciliation_states": {"reconciliation_states_account": "What is read is an account of the organisation's own."},
    "reconciliations": {"reconciliations_of": "A look at the provider's records is at an account of the organisation's own."},
    "statement_lines": {
        "statement_lines_of": "A line was told in a run of the organisation's own.",
        "statement_lines_account": "A line stands in the statement of an account of the organisation's own.",
    },
    "discrepancies": {
        "discrepancies_account": "A discrepancy is of an account of the organisation's own.",
        "discrepancies_payment": "A discrepancy's payment exists.",
        "discrepancies_refund": "A discrepancy's refund exists.",
        "discrepancies_run": "A discrepancy was found by a run of the organisation's own.",
    },
    "discrepancy_resolutions": {
        "discrepancy_resolutions_of": "What is closed is a discrepancy of the organisation.",
        "discrepancy_resolutions_member": "Who closes a discrepancy is a member of the organisation.",
    },
    "webhook_secrets": {"webhook_secrets_of": "A secret is of an endpoint of the organisation's own."},
    "webhook_deliveries": {
        "webhook_deliveries_of": "What is told is told to an endpoint of the organisation's own.",
        "webhook_deliveries_entry": "What is told stands in the organisation's own chain.",
    },
    "stop_lifts": {"stop_lifts_of": "What is lifted is a stop of the organisation, and names who set it."},
    "agents": {"agents_of_project": "An agent's project is the organisation's own, in the same mode."},
    "access_tokens": {
        "access_tokens_agent": "A token's agent is the organisation's own, in the token's mode.",
        "access_tokens_member": "A token's member is the organisation's own.",
    },
    "member_devices": {"member_devices_member": "A device belongs to a member of the organisation."},
    "accounts": {
        "accounts_agent": "A wallet's agent is in the wallet's project.",
        "accounts_agent_mode": "A wallet's agent is in the wallet's mode.",
    },
    "transfers": {
        "transfers_debit": "The account debited agrees in organisation, kind, mode and currency.",
        "transfers_credit": "The account credited agrees in organisation, kind, mode and currency.",
        "transfers_mandate_known": "A transfer's mandate is the organisation's own.",
        "transfers_mandate_agent": "A wallet is debited under a mandate of its own agent, mode and currency.",
        "transfers_wallet_agent": "The agent of a debit is the agent of the wallet debited.",
    },
    "holds": {
        "holds_wallet": "An agent's hold takes from that agent's own wallet, in its mode and currency.",
        "holds_mandate": "A hold's mandate is that agent's, in the same mode and currency.",
    },
    "hold_resolutions": {"hold_resolutions_hold": "A resolution is of a hold, and of all of it."},
    "credits": {"credits_account": "A credit arrived at the organisation's own provider account."},
    "counterparty_versions": {"counterparty_versions_of": "A version is of a counterparty of the organisation."},
    "mandates": {
        "mandates_agent": "A mandate's agent is in the mandate's project.",
        "mandates_agent_mode": "A mandate's agent is in the mandate's mode.",
        "mandates_kid": "A mandate is signed by a key of the organisation.",
    },
    "mandate_usages": {"mandate_usages_mandate": "What is counted is a mandate of the organisation."},
    "policy_versions": {"policy_versions_of": "A version is of a policy of the organisation."},
    "policy_activations": {"policy_activations_version": "What is activated was written before."},
    "policy_rules": {"policy_rules_version": "A compiled rule belongs to a version."},
    "payments": {
        "payments_agent": "A payment's agent is in the payment's project.",
        "payments_agent_mode": "A payment's agent is in the payment's mode.",
        "payments_mandate": "A payment's mandate is of the payment's project.",
        "payments_wallet": "A payment debits its own agent's wallet, in its mode and currency.",
        "payments_counterparty": "A payment goes to a registered counterparty of its mode.",
        "payments_counterparty_version": "A payment's payee is a version of the counterparty that exists.",
        "payments_hold": "A payment's hold exists.",
        "payments_consent": "A payment is paid under a consent of its own rail and mode.",
        "payments_decision": "A payment was decided.",
    },
    "payment_transitions": {
        "payment_transitions_of": "A step is of a payment.",
        "payment_transitions_allowed": "Payment states move only along the transition table.",
    },
    "approvals": {"approvals_of": "An approval is of a payment."},
    "approval_votes": {
        "approval_votes_of": "A vote is on an approval that was asked for, and uses it up.",
        "approval_votes_member": "A vote is a member's.",
    },
    "refunds": {"refunds_payment": "A refund is of a payment."},
    "attempts": {
        "attempts_intent": "No attempt without its intent in the ledger, written before.",
        "attempts_payment": "An attempt is of a payment.",
        "attempts_refund": "An attempt to refund is of a refund.",
    },
    "attempt_results": {"attempt_results_of": "A result is of an attempt."},
    "ledger_entries": {"ledger_entries_kind": "An entry is of a known kind."},
}

_TRIGGERS = {
    "consents": {"consents_fixed": "What a consent allows is never more than was asked for, and what is over is over for ever."},
    "rail_accounts": {"rail_accounts_reconciled": "Whatever account is connected is held against our books from then on."},
    "statement_lines": {"statement_lines_fixed": "What a provider told is never changed nor deleted."},
    "transfers": {
        "transfers_books": "Balances move because a transfer was added, and with it.",
        "transfers_agent_of": "Whose wallet is debited is derived from the account, not believed.",
    },
    "holds": {"holds_books": "What is held leaves what is available in the same statement."},
    "hold_resolutions": {"hold_resolutions_books": "What is released comes back; what is captured leaves by its transfer."},
    "idempotency_keys": {"idempotency_keys_frozen_once": "What was answered once stays the answer."},
    "scope_states": {"scope_states_epoch_grows": "A revocation is for ever."},
    "platform_states": {"platform_states_epoch_grows": "A revocation is for ever."},
    "mandate_usages": {"mandate_usages_caps": "A mandate's caps are fixed when it is signed."},
    "payments": {
        "payments_moves": "Nobody moves a payment without leaving the step and the record that it belongs to.",
        "payments_no_truncate": "The table is never emptied.",
        "payments_fixed": "Who, whom, how much and how is fixed when a payment is made, and no payment is deleted.",
    },
    "deployment": {"deployment_named_once": "A deployment has its name, and its platform organisation, for ever."},
    "ledger_heads": {"ledger_heads_grow": "A chain grows by one entry at a time, and never shrinks."},
}

APPEND_ONLY = [
    "transfers",
    "holds",
    "hold_resolutions",
    "provider_accounts",
    "counterparty_versions",
    "mandates",
    "stops",
    "stop_lifts",
    "revocations",
    "policies",
    "policy_versions",
    "policy_activations",
    "policy_rules",
    "counter_selectors",
    "decisions",
    "payment_transitions",
    "approvals",
    "approval_votes",
    "attempts",
    "attempt_results",
    "breaker_changes",
    "discrepancies",
    "discrepancy_resolutions",
    "payment_rulings",
    "ruling_confirmations",
    "ledger_entries",
    "ledger_openings",
    "ledger_checkpoints",
]
TENANT = [
    "organisations",
    "projects",
    "agents",
    "members",
    "member_devices",
    "access_tokens",
    "private_keys",
    "rail_accounts",
    "accounts",
    "transfers",
    "holds",
    "hold_resolutions",
    "credits",
    "idempotency_keys",
    "counterparties",
    "counterparty_versions",
    "scope_states",
    "mandates",
    "mandate_usages",
    "stops",
    "stop_lifts",
    "revocations",
    "policies",
    "policy_versions",
    "policy_activations",
    "policy_rules",
    "counters",
    "counter_selectors",
    "decisions",
    "consents",
    "consent_reads",
    "payments",
    "payment_transitions",
    "approvals",
    "approval_votes",
    "refunds",
    "attempts",
    "attempt_results",
    "breaker_changes",
    "reconciliation_states",
    "reconciliations",
    "statement_lines",
    "discrepancies",
    "discrepancy_resolutions",
    "payment_rulings",
    "ruling_confirmations",
    "webhook_messages",
    "webhook_endpoints",
    "webhook_secrets",
    "webhook_deliveries",
    "ledger_entries",
    "ledger_heads",
    "ledger_openings",
    "ledger_checkpoints",
]


# Rows that change, and whose removal would forget a revocation, a stop, a use, a balance, a head, a consent or whom to tell.
KEPT = [
    *("accounts", "consent_reads", "consents", "ledger_heads", "ledger_rewinds", "mandate_usages", "platform_states"),
    *("scope_states", "webhook_endpoints"),
]


def _rules() -> dict[tuple[str, str], Rule]:
    found: dict[tuple[str, str], Rule] = {}
    for kind, tables in (("check", _CHECKS), ("unique", _UNIQUE), ("foreign key", _FOREIGN), ("trigger", _TRIGGERS)):
        for table, rules in tables.items():
            found |= {(table, name): Rule(table, kind, promise) for name, promise in rules.items()}
    for table in APPEND_ONLY:
        found[table, f"{table}_append_only"] = Rule(table, "trigger", "A row is never changed and never deleted.")
        found[table, f"{table}_no_truncate"] = Rule(table, "trigger", "The table is never emptied.")
    for table in KEPT:
        found[table, f"{table}_kept"] = Rule(table, "trigger", "A row may change, and is never removed.")
        found[table, f"{table}_no_truncate"] = Rule(table, "trigger", "The table is never emptied.")
    for table in TENANT:
        found[table, "tenant"] = Rule(table, "policy", "Nobody sees or writes a row of another organisation.")
    found["private_keys", "records_only"] = Rule(
        "private_keys", "policy", "The agents' and the rail's processes read keys that sign records, never keys that sign mandates."
    )
    found["ledger_openings", "payments_only"] = Rule(
        "ledger_openings", "policy", "An agent's process reads the texts of payments, and no names of people."
    )
    return found


# By (table, name): policies of different tables share a name; every other name is one rule's.
RULES = _rules()
