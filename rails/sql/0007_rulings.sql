-- What only people can end: two of them say how a payment that needs a human ended, and money that moved after all is booked as it moved.

CREATE TABLE payment_rulings (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    payment_id uuid NOT NULL,
    outcome text NOT NULL,
    proposed_by uuid NOT NULL,
    reason_commit text NOT NULL,
    evidence_commit text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT payment_rulings_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT payment_rulings_proposer UNIQUE (org_id, id, payment_id, proposed_by),
    CONSTRAINT payment_rulings_of FOREIGN KEY (org_id, payment_id) REFERENCES payments,
    CONSTRAINT payment_rulings_member FOREIGN KEY (org_id, proposed_by) REFERENCES members,
    CONSTRAINT payment_rulings_outcome CHECK (outcome IN ('settled', 'failed', 'written_off'))
);
CREATE INDEX payment_rulings_of_payment ON payment_rulings (org_id, payment_id);
CALL tenant_table('payment_rulings', '{codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('payment_rulings');

CREATE TABLE ruling_confirmations (
    org_id uuid NOT NULL,
    ruling_id uuid NOT NULL,
    payment_id uuid NOT NULL,
    proposed_by uuid NOT NULL,
    confirmed_by uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT ruling_confirmations_pkey PRIMARY KEY (org_id, ruling_id),
    CONSTRAINT ruling_confirmations_of FOREIGN KEY (org_id, ruling_id, payment_id, proposed_by) REFERENCES payment_rulings (org_id, id, payment_id, proposed_by),
    CONSTRAINT ruling_confirmations_member FOREIGN KEY (org_id, confirmed_by) REFERENCES members,
    -- Two people, always.
    CONSTRAINT ruling_confirmations_another_person CHECK (confirmed_by <> proposed_by)
);
CALL tenant_table('ruling_confirmations', '{codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('ruling_confirmations');

-- kinds: payment.ruled. A proposal: nothing moves.
CREATE FUNCTION payment_rule(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    p principal;
    y payments;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{payment.ruled}');
    p := caller(p_org, p_digest, 'payments:rule', c);
    d := c #> '{data,ruling}';
    SELECT * INTO y FROM payments WHERE org_id = p_org AND id = unwire('pay', d->>'payment') AND livemode = p.livemode;
    IF p.member_id IS NULL OR coalesce(opened(p_openings, d->>'reason_commit'), '') = '' OR coalesce(opened(p_openings, d->>'evidence_commit'), '') = '' THEN
        PERFORM refuse('record_shape', 'a person rules, with a reason and with evidence');
    END IF;
    PERFORM head_lock(p_org);
    IF y.status IS DISTINCT FROM 'needs_human' THEN
        PERFORM refuse('payment_rulings_open', 'this payment does not need a human');
    END IF;
    INSERT INTO payment_rulings (org_id, id, payment_id, outcome, proposed_by, reason_commit, evidence_commit, entry_id)
    VALUES (p_org, unwire('rul', d->>'id'), y.id, d->>'outcome', p.member_id, d->>'reason_commit', d->>'evidence_commit', unwire('ent', c->>'id'));
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('payment_rule(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

-- kinds: payment.ruling_confirmed. Another person agrees, and the payment ends: what is still held is captured, or goes back when it failed.
CREATE FUNCTION payment_ruling_confirm(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    i jsonb;
    p principal;
    y payments;
    u payment_rulings;
    v_entry uuid;
    v_held boolean;
    v_captured bigint;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{payment.ruling_confirmed}');
    p := caller(p_org, p_digest, 'payments:rule', c);
    i := c #> '{data,items,0}';
    v_entry := unwire('ent', c->>'id');
    SELECT * INTO u FROM payment_rulings WHERE org_id = p_org AND id = unwire('rul', i->>'ruling') AND payment_id = unwire('pay', i->>'payment');
    PERFORM payments_lock(p_org, ARRAY[u.payment_id], ARRAY[u.payment_id]);
    SELECT * INTO y FROM payments WHERE org_id = p_org AND id = u.payment_id AND livemode = p.livemode;
    IF p.member_id IS NULL OR y.status IS DISTINCT FROM 'needs_human' OR jsonb_array_length(c #> '{data,items}') <> 1 THEN
        PERFORM refuse('payment_rulings_open', 'this payment does not need a human');
    END IF;
    v_held := NOT EXISTS (SELECT FROM hold_resolutions WHERE org_id = p_org AND hold_id = y.hold_id);
    IF u.outcome = 'failed' AND y.captured > y.refunded THEN
        PERFORM refuse('payment_rulings_moved', 'money has moved for this payment: it is settled or written off, not failed');
    END IF;
    v_captured := CASE WHEN v_held AND u.outcome <> 'failed' THEN y.amount ELSE 0 END;
    IF i->>'to' IS DISTINCT FROM u.outcome OR (i->>'captured')::bigint IS DISTINCT FROM v_captured OR (i->>'held')::boolean IS DISTINCT FROM v_held THEN
        RETURN jsonb_build_object('moved', 'state');
    END IF;
    INSERT INTO ruling_confirmations (org_id, ruling_id, payment_id, proposed_by, confirmed_by, entry_id)
    VALUES (p_org, u.id, y.id, u.proposed_by, p.member_id, v_entry);
    IF v_held THEN
        PERFORM hold_resolve(p_org, y.id, v_captured, unwire('tr', i->>'transfer'), v_entry);
    END IF;
    UPDATE payments SET status = u.outcome, captured = captured + v_captured, due_at = NULL, updated_at = clock_timestamp(), entry_id = v_entry
    WHERE org_id = p_org AND id = y.id;
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('payment_ruling_confirm(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

-- kinds: payment.settled_late. The rail's records show that money moved for a payment whose hold went back: it is booked as it moved, from what the
-- wallet still has and the rest from the receivable account, and a person looks. A wallet never becomes negative.
CREATE FUNCTION payment_settled_late(p_org uuid, p_content bytea, p_sig bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    y payments;
    v_entry uuid;
    v_clearing uuid;
    v_wallet bigint;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{payment.settled_late}');
    PERFORM system_actor(c);
    d := c #> '{data,payment}';
    v_entry := unwire('ent', c->>'id');
    PERFORM payments_lock(p_org, ARRAY[unwire('pay', d->>'id')], '{}');
    SELECT * INTO y FROM payments WHERE org_id = p_org AND id = unwire('pay', d->>'id');
    SELECT least(available, y.amount) INTO v_wallet FROM accounts WHERE org_id = p_org AND id = y.wallet_id;
    IF y.status NOT IN ('failed', 'canceled', 'expired') OR y.captured > 0 OR y.livemode IS DISTINCT FROM (c->>'livemode')::boolean
       OR (d->>'amount')::bigint IS DISTINCT FROM y.amount OR (d->>'from_wallet')::bigint IS DISTINCT FROM v_wallet
       OR NOT EXISTS (SELECT FROM discrepancies WHERE org_id = p_org AND id = unwire('dsc', d->>'discrepancy') AND payment_id = y.id AND kind = 'status'
                      AND (theirs->>'amount')::bigint = -y.amount AND theirs->>'currency' = y.currency) THEN
        RETURN jsonb_build_object('moved', 'state');
    END IF;
    PERFORM head_lock(p_org);
    v_clearing := account_of(p_org, 'clearing', y.livemode, y.currency, y.rail, v_entry);
    IF v_wallet > 0 THEN
        INSERT INTO transfers (org_id, id, kind, debit_id, debit_kind, credit_id, credit_kind, livemode, currency, amount, mandate_id, payment_id, entry_id)
        VALUES (p_org, unwire('tr', d->>'wallet_transfer'), 'settled_late', y.wallet_id, 'wallet', v_clearing, 'clearing', y.livemode, y.currency, v_wallet,
                y.mandate_id, y.id, v_entry);
    END IF;
    IF v_wallet < y.amount THEN
        INSERT INTO transfers (org_id, id, kind, debit_id, debit_kind, credit_id, credit_kind, livemode, currency, amount, mandate_id, payment_id, entry_id)
        VALUES (p_org, unwire('tr', d->>'receivable_transfer'), 'settled_late', account_of(p_org, 'receivable', y.livemode, y.currency, NULL, v_entry), 'receivable',
                v_clearing, 'clearing', y.livemode, y.currency, y.amount - v_wallet, y.mandate_id, y.id, v_entry);
    END IF;
    UPDATE payments SET status = 'needs_human', code = 'settled_late', captured = y.amount, due_at = NULL, updated_at = clock_timestamp(), entry_id = v_entry
    WHERE org_id = p_org AND id = y.id;
    RETURN record_append(p_org, p_content, p_sig, c);
END $$;
CALL definer('payment_settled_late(uuid,bytea,bytea)', '{codespar_rail}');
