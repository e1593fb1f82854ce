-- How it gets there: payments and their states, attempts, results, refunds. The row is the queue.

CREATE TABLE payment_transition_rules (
    from_state text NOT NULL,
    to_state text NOT NULL,
    CONSTRAINT payment_transition_rules_pkey PRIMARY KEY (from_state, to_state)
);
INSERT INTO payment_transition_rules (from_state, to_state) VALUES
    ('new', 'authorized'), ('new', 'denied'), ('new', 'requires_approval'), ('new', 'scheduled'),
    ('scheduled', 'authorized'), ('scheduled', 'denied'), ('scheduled', 'requires_approval'), ('scheduled', 'canceled'), ('scheduled', 'expired'),
    ('requires_approval', 'authorized'), ('requires_approval', 'denied'), ('requires_approval', 'canceled'), ('requires_approval', 'expired'),
    ('authorized', 'submitted'), ('authorized', 'canceled'), ('authorized', 'expired'),
    ('submitted', 'settled'), ('submitted', 'failed'), ('submitted', 'canceled'), ('submitted', 'uncertain'), ('submitted', 'needs_human'),
    ('uncertain', 'settled'), ('uncertain', 'failed'), ('uncertain', 'canceled'), ('uncertain', 'needs_human'),
    ('settled', 'reversing'), ('settled', 'needs_human'), ('reversing', 'reversed'), ('reversing', 'settled'), ('reversing', 'needs_human'),
    ('failed', 'needs_human'), ('canceled', 'needs_human'), ('expired', 'needs_human'),
    ('needs_human', 'settled'), ('needs_human', 'failed'), ('needs_human', 'written_off');
GRANT SELECT ON payment_transition_rules TO codespar_definer, codespar_agent, codespar_control, codespar_rail, codespar_auditor;

CREATE TABLE payments (
    org_id uuid NOT NULL,
    project_id uuid NOT NULL,
    id uuid NOT NULL,
    livemode boolean NOT NULL,
    agent_id uuid NOT NULL,
    mandate_id uuid,
    wallet_id uuid,
    counterparty_id uuid,
    counterparty_version integer,
    account_id text,
    amount bigint NOT NULL,
    currency text NOT NULL,
    purpose text NOT NULL,
    rail text,
    reference text,
    memo text,
    -- What is paid for on the payee's side. Like the texts, it may name a person: the record commits to it, and the text is an opening.
    target text,
    transaction_id text,
    presentation text,
    status text NOT NULL,
    code text,
    hold_id uuid,
    decision_id uuid NOT NULL,
    rail_key bytea NOT NULL,
    -- The same key in the rail's alphabet, and the payee's account, as the rail was told them: what notices and statements name.
    rail_ref text,
    rail_payee text,
    provider_id text,
    -- The consent under which it is paid, where its rail needs one: that of the moment when its money was held.
    consent_id uuid,
    -- What the rail has, as it last proved: it will move it by itself, or holds it until a capture.
    stage text,
    -- When a scheduled payment is decided again; until then it is a wish, and holds nothing.
    execute_at timestamptz,
    submit_by timestamptz NOT NULL,
    captured bigint NOT NULL DEFAULT 0,
    refunding bigint NOT NULL DEFAULT 0,
    refunded bigint NOT NULL DEFAULT 0,
    due_at timestamptz,
    checks integer NOT NULL DEFAULT 0,
    lease_owner text,
    lease_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_entry_id uuid NOT NULL,
    entry_id uuid NOT NULL,
    CONSTRAINT payments_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT payments_rail_key UNIQUE (org_id, rail_key),
    CONSTRAINT payments_agent FOREIGN KEY (org_id, project_id, agent_id) REFERENCES agents (org_id, project_id, id),
    CONSTRAINT payments_agent_mode FOREIGN KEY (org_id, agent_id, livemode) REFERENCES agents (org_id, id, livemode),
    CONSTRAINT payments_mandate FOREIGN KEY (org_id, project_id, mandate_id) REFERENCES mandates (org_id, project_id, id),
    CONSTRAINT payments_wallet FOREIGN KEY (org_id, wallet_id, agent_id, livemode, currency) REFERENCES accounts (org_id, id, agent_id, livemode, currency),
    CONSTRAINT payments_counterparty FOREIGN KEY (org_id, counterparty_id, livemode) REFERENCES counterparties (org_id, id, livemode),
    CONSTRAINT payments_counterparty_version FOREIGN KEY (org_id, counterparty_id, counterparty_version)
        REFERENCES counterparty_versions (org_id, counterparty_id, version),
    CONSTRAINT payments_texts CHECK (reference ~ '^[0-9a-f]{64}$' AND memo ~ '^[0-9a-f]{64}$' AND target ~ '^[0-9a-f]{64}$'),
    CONSTRAINT payments_hold FOREIGN KEY (org_id, hold_id) REFERENCES holds (org_id, id),
    CONSTRAINT payments_decision FOREIGN KEY (org_id, decision_id) REFERENCES decisions (org_id, id),
    CONSTRAINT payments_amount CHECK (amount > 0),
    -- Whatever is not denied names its mandate, wallet, counterparty and rail; whatever may move money has its hold.
    CONSTRAINT payments_mandated CHECK (status = 'denied' OR (execute_at IS NOT NULL AND hold_id IS NULL AND status IN ('scheduled', 'canceled', 'expired'))
        OR num_nulls(mandate_id, wallet_id, counterparty_id, counterparty_version, account_id, rail) = 0),
    CONSTRAINT payments_scheduled CHECK (status <> 'scheduled' OR num_nulls(execute_at, due_at, mandate_id, counterparty_id) = 0),
    CONSTRAINT payments_held CHECK (status IN ('denied', 'scheduled', 'requires_approval', 'canceled', 'expired') OR hold_id IS NOT NULL),
    CONSTRAINT payments_captured CHECK (captured >= 0 AND captured <= amount),
    CONSTRAINT payments_refunds CHECK (refunded >= 0 AND refunding >= 0 AND refunded + refunding <= captured),
    CONSTRAINT payments_stage CHECK (stage IN ('accepted', 'reserved')),
    CONSTRAINT payments_due CHECK (due_at IS NOT NULL OR status NOT IN ('requires_approval', 'authorized', 'submitted', 'uncertain'))
);
-- One presentation, one transaction of a mandate: one payment, for ever.
CREATE UNIQUE INDEX payments_transaction ON payments (org_id, mandate_id, transaction_id) WHERE transaction_id IS NOT NULL;
CREATE UNIQUE INDEX payments_presentation ON payments (org_id, presentation) WHERE presentation IS NOT NULL;
CREATE UNIQUE INDEX payments_rail_ref ON payments (org_id, rail, rail_ref) WHERE rail_ref IS NOT NULL;
CREATE INDEX payments_by_agent ON payments (org_id, agent_id, id);
CREATE INDEX payments_execute_at ON payments (due_at) WHERE status = 'scheduled';
CREATE INDEX payments_due_at ON payments (rail, due_at) WHERE due_at IS NOT NULL;
CALL tenant_table('payments', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');

CREATE TABLE payment_transitions (
    org_id uuid NOT NULL,
    payment_id uuid NOT NULL,
    entry_id uuid NOT NULL,
    from_state text NOT NULL,
    to_state text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT payment_transitions_pkey PRIMARY KEY (org_id, payment_id, entry_id),
    CONSTRAINT payment_transitions_of FOREIGN KEY (org_id, payment_id) REFERENCES payments,
    CONSTRAINT payment_transitions_allowed FOREIGN KEY (from_state, to_state) REFERENCES payment_transition_rules
);
CALL tenant_table('payment_transitions', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CREATE INDEX payment_transitions_settled ON payment_transitions (org_id, at) WHERE to_state = 'settled';
CALL append_only('payment_transitions');

-- Nobody can move a payment without leaving the step and the record that it belongs to.
CREATE FUNCTION payment_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO payment_transitions (org_id, payment_id, entry_id, from_state, to_state)
        VALUES (NEW.org_id, NEW.id, NEW.entry_id, 'new', NEW.status);
    ELSIF NEW.status <> OLD.status THEN
        INSERT INTO payment_transitions (org_id, payment_id, entry_id, from_state, to_state)
        VALUES (NEW.org_id, NEW.id, NEW.entry_id, OLD.status, NEW.status);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER payments_moves AFTER INSERT OR UPDATE OF status ON payments FOR EACH ROW EXECUTE FUNCTION payment_moves();

CREATE FUNCTION payment_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM refuse('payments_kept', 'a payment is never deleted');
    END IF;
    -- How a scheduled payment is paid is decided when its time has come.
    IF OLD.status = 'scheduled' THEN
        OLD.wallet_id := coalesce(OLD.wallet_id, NEW.wallet_id);
        OLD.account_id := coalesce(OLD.account_id, NEW.account_id);
        OLD.rail := coalesce(OLD.rail, NEW.rail);
    END IF;
    IF OLD.status IN ('scheduled', 'requires_approval') THEN
        OLD.consent_id := coalesce(OLD.consent_id, NEW.consent_id);
    END IF;
    IF (NEW.org_id, NEW.project_id, NEW.id, NEW.livemode, NEW.agent_id, NEW.mandate_id, NEW.wallet_id, NEW.counterparty_id, NEW.account_id,
        NEW.amount, NEW.currency, NEW.purpose, NEW.rail, NEW.target, NEW.rail_key, NEW.consent_id, NEW.execute_at, NEW.created_at, NEW.created_entry_id)
       IS DISTINCT FROM (OLD.org_id, OLD.project_id, OLD.id, OLD.livemode, OLD.agent_id, OLD.mandate_id, OLD.wallet_id, OLD.counterparty_id, OLD.account_id,
        OLD.amount, OLD.currency, OLD.purpose, OLD.rail, OLD.target, OLD.rail_key, OLD.consent_id, OLD.execute_at, OLD.created_at, OLD.created_entry_id) THEN
        PERFORM refuse('payments_fixed', 'who, whom, how much and how is fixed when a payment is made');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payments_fixed BEFORE UPDATE OR DELETE ON payments FOR EACH ROW EXECUTE FUNCTION payment_fixed();
CREATE TRIGGER payments_no_truncate BEFORE TRUNCATE ON payments FOR EACH STATEMENT EXECUTE FUNCTION is_kept();

-- A person's yes or no to one payment.
CREATE TABLE approvals (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    payment_id uuid NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    entry_id uuid NOT NULL,
    CONSTRAINT approvals_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT approvals_payment UNIQUE (org_id, payment_id),
    CONSTRAINT approvals_of FOREIGN KEY (org_id, payment_id) REFERENCES payments,
    CONSTRAINT approvals_life CHECK (expires_at <= requested_at + interval '24 hours')
);
CALL tenant_table('approvals', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('approvals');

CREATE TABLE approval_votes (
    org_id uuid NOT NULL,
    approval_id uuid NOT NULL,
    member_id uuid NOT NULL,
    verdict text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    -- One vote decides and is used up with the payment that it was given for.
    CONSTRAINT approval_votes_pkey PRIMARY KEY (org_id, approval_id),
    CONSTRAINT approval_votes_of FOREIGN KEY (org_id, approval_id) REFERENCES approvals,
    CONSTRAINT approval_votes_member FOREIGN KEY (org_id, member_id) REFERENCES members,
    CONSTRAINT approval_votes_verdict CHECK (verdict IN ('approved', 'denied'))
);
CALL tenant_table('approval_votes', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('approval_votes');

-- Money on its way back: rows with states, attempts and keys of their own.
CREATE TABLE refunds (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    payment_id uuid NOT NULL,
    rail text NOT NULL,
    amount bigint NOT NULL,
    status text NOT NULL,
    code text,
    rail_key bytea NOT NULL,
    rail_ref text,
    provider_id text,
    requested_by text NOT NULL,
    due_at timestamptz,
    checks integer NOT NULL DEFAULT 0,
    lease_owner text,
    lease_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT refunds_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT refunds_rail_key UNIQUE (org_id, rail_key),
    CONSTRAINT refunds_payment FOREIGN KEY (org_id, payment_id) REFERENCES payments,
    CONSTRAINT refunds_amount CHECK (amount > 0),
    CONSTRAINT refunds_status CHECK (status IN ('authorized', 'submitted', 'uncertain', 'settled', 'failed', 'needs_human'))
);
CREATE INDEX refunds_due_at ON refunds (rail, due_at) WHERE due_at IS NOT NULL;
CREATE UNIQUE INDEX refunds_provider ON refunds (org_id, provider_id) WHERE provider_id IS NOT NULL;
CREATE UNIQUE INDEX refunds_rail_ref ON refunds (org_id, rail, rail_ref) WHERE rail_ref IS NOT NULL;
CREATE INDEX refunds_of ON refunds (org_id, payment_id);
CALL tenant_table('refunds', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');

-- Durable before a byte leaves: which process, under which key, until when.
CREATE TABLE attempts (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    payment_id uuid NOT NULL,
    refund_id uuid,
    operation text NOT NULL,
    rail text NOT NULL,
    rail_key bytea NOT NULL,
    worker text NOT NULL,
    send_by timestamptz NOT NULL,
    submit_by timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    intent_entry_id uuid NOT NULL,
    CONSTRAINT attempts_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT attempts_payment FOREIGN KEY (org_id, payment_id) REFERENCES payments,
    CONSTRAINT attempts_refund FOREIGN KEY (org_id, refund_id) REFERENCES refunds,
    CONSTRAINT attempts_intent FOREIGN KEY (org_id, intent_entry_id) REFERENCES ledger_entries (org_id, id),
    CONSTRAINT attempts_operation CHECK (operation IN ('pay', 'capture', 'cancel', 'refund') AND (operation = 'refund') = (refund_id IS NOT NULL)),
    CONSTRAINT attempts_send_by CHECK (send_by <= created_at + interval '60 seconds'),
    -- A payment leaves before what allowed it closes; a refund has no such hour.
    CONSTRAINT attempts_submit_by CHECK ((operation = 'pay') = (submit_by IS NOT NULL) AND coalesce(send_by <= submit_by, true))
);
-- Paying and refunding happen once. A capture or a cancellation is asked for again until the rail has spoken: it can happen once only.
CREATE UNIQUE INDEX attempts_once ON attempts (org_id, payment_id, refund_id) NULLS NOT DISTINCT WHERE operation IN ('pay', 'refund');
CREATE INDEX attempts_following ON attempts (org_id, payment_id, created_at) WHERE operation IN ('capture', 'cancel');
CALL tenant_table('attempts', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('attempts');

-- What the rail said, each time it said something; the raw bytes are an opening of the record's commitment.
CREATE TABLE attempt_results (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    attempt_id uuid NOT NULL,
    source text NOT NULL,
    result text NOT NULL,
    code text NOT NULL,
    proof text,
    provider_id text,
    moved bigint,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT attempt_results_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT attempt_results_of FOREIGN KEY (org_id, attempt_id) REFERENCES attempts,
    CONSTRAINT attempt_results_source CHECK (source IN ('answer', 'query', 'statement', 'sweeper')),
    CONSTRAINT attempt_results_result CHECK (result IN ('accepted', 'reserved', 'settled', 'canceled', 'rejected', 'unknown', 'conflicted', 'not_found')),
    -- A hold is released on proof: nothing was sent, the rail rejected or canceled it, or it is not there and can no longer come.
    CONSTRAINT attempt_results_proof CHECK (proof IN ('unsent', 'rejected', 'canceled', 'not_found_after_window')),
    CONSTRAINT attempt_results_moved CHECK (moved IS NULL OR (moved >= 0 AND result IN ('accepted', 'canceled')))
);
CREATE INDEX attempt_results_by_attempt ON attempt_results (org_id, attempt_id);
-- The provider's own id belongs to one payment.
CREATE UNIQUE INDEX payments_provider ON payments (org_id, rail, provider_id) WHERE provider_id IS NOT NULL;
CALL tenant_table('attempt_results', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('attempt_results');

-- What arrived from a rail, raw. A notice is a hint to ask the rail; it proves nothing by itself.
CREATE TABLE webhook_messages (
    org_id uuid NOT NULL REFERENCES organisations,
    id uuid NOT NULL,
    rail text NOT NULL,
    livemode boolean NOT NULL,
    message_id text NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    status text NOT NULL DEFAULT 'received',
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT webhook_messages_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT webhook_messages_once UNIQUE (org_id, rail, livemode, message_id),
    CONSTRAINT webhook_messages_status CHECK (status IN ('received', 'verified', 'refused')),
    CONSTRAINT webhook_messages_size CHECK (octet_length(body) <= 65536)
);
CREATE INDEX webhook_messages_new ON webhook_messages (received_at) WHERE status = 'received';
CALL tenant_table('webhook_messages', '{codespar_control,codespar_rail,codespar_auditor}');
