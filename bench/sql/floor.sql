-- The rows of one payment, written by hand: what is left of a payment when nobody decides, signs or checks. One function for each
-- commit that the engine makes. Every row is a copy of the organisation's first payment, which the engine made; the tables are the
-- engine's own, with their indexes, constraints and triggers.

CREATE SCHEMA bench;

-- The organisation's first payment.
CREATE TABLE bench.models (
    org uuid PRIMARY KEY,
    payment uuid NOT NULL,
    key_hash bytea NOT NULL,
    submitted uuid NOT NULL,
    resulted uuid NOT NULL
);

CREATE FUNCTION bench.learn(p_org uuid, p_payment uuid) RETURNS void LANGUAGE sql AS $$
    INSERT INTO bench.models
    SELECT p_org, p_payment, k.key_hash, a.intent_entry_id, r.entry_id
    FROM idempotency_keys k, attempts a JOIN attempt_results r ON r.org_id = a.org_id AND r.attempt_id = a.id
    WHERE k.org_id = p_org AND k.subject = wire('pay', p_payment) AND a.org_id = p_org AND a.payment_id = p_payment
$$;

CREATE FUNCTION bench.entry(p_org uuid, p_model uuid, p_id uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    h ledger_heads;
    e ledger_entries;
BEGIN
    SELECT * INTO e FROM ledger_entries WHERE org_id = p_org AND id = p_model;
    SELECT * INTO h FROM ledger_heads WHERE org_id = p_org FOR UPDATE;
    e.id := p_id;
    e.seq := h.seq + 1;
    e.prev := h.hash;
    e.at := clock_timestamp();
    e.appended_at := e.at;
    e.leaf := overlay(e.leaf PLACING convert_to(encode(h.hash, 'hex'), 'UTF8') FROM position('"prev":"'::bytea IN e.leaf) + 8);
    e.hash := sha256('\x00'::bytea || e.leaf);
    INSERT INTO ledger_entries VALUES (e.*);
    UPDATE ledger_heads SET seq = e.seq, hash = e.hash WHERE org_id = p_org;
END $$;

CREATE FUNCTION bench.authorise(p_org uuid, p_id uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    y payments;
    d decisions;
    h holds;
    k idempotency_keys;
    v_entry uuid;
BEGIN
    SELECT p.* INTO y FROM payments p JOIN bench.models m ON m.org = p.org_id AND m.payment = p.id WHERE p.org_id = p_org;
    SELECT * INTO d FROM decisions WHERE org_id = p_org AND id = y.decision_id;
    SELECT * INTO h FROM holds WHERE org_id = p_org AND id = y.hold_id;
    SELECT i.* INTO k FROM idempotency_keys i JOIN bench.models m ON m.org = i.org_id AND m.key_hash = i.key_hash
    WHERE i.org_id = p_org AND i.principal = wire('agt', y.agent_id) AND i.operation = 'payment';
    v_entry := y.created_entry_id;
    UPDATE mandate_usages SET spent = spent + y.amount, uses = uses + 1 WHERE org_id = p_org AND mandate_id = y.mandate_id;
    UPDATE counters c SET amount = c.amount + y.amount, uses = c.uses + 1, last_at = v_now FROM jsonb_array_elements(h.counters) e
    WHERE c.org_id = p_org AND c.selector = e->>0 AND c.currency = e->>1 AND c.window_kind = e->>2 AND c.window_start = (e->>3)::date;
    k.key_hash := sha256(uuid_send(p_id));
    k.subject := wire('pay', p_id);
    k.created_at := v_now;
    k.status := NULL;
    k.body := NULL;
    k.frozen_at := NULL;
    INSERT INTO idempotency_keys VALUES (k.*);
    d.id := new_id();
    d.payment_id := p_id;
    d.at := v_now;
    d.entry_id := new_id();
    INSERT INTO decisions VALUES (d.*);
    h.id := new_id();
    h.payment_id := p_id;
    h.created_at := v_now;
    h.entry_id := d.entry_id;
    INSERT INTO holds VALUES (h.*);
    y.id := p_id;
    y.hold_id := h.id;
    y.decision_id := d.id;
    y.rail_key := k.key_hash;
    y.rail_ref := encode(k.key_hash, 'hex');
    y.status := 'authorized';
    y.provider_id := NULL;
    y.captured := 0;
    y.checks := 0;
    y.created_at := v_now;
    y.updated_at := v_now;
    -- Later, so that no dispatcher takes it.
    y.due_at := v_now + interval '1 hour';
    y.submit_by := v_now + interval '60 seconds';
    y.created_entry_id := d.entry_id;
    y.entry_id := d.entry_id;
    INSERT INTO payments VALUES (y.*);
    PERFORM bench.entry(p_org, v_entry, d.entry_id);
END $$;

CREATE FUNCTION bench.claim(p_org uuid, p_id uuid) RETURNS void LANGUAGE sql AS $$
    UPDATE payments SET lease_owner = 'bench', lease_until = clock_timestamp() + interval '45 seconds' WHERE org_id = p_org AND id = p_id
$$;

CREATE FUNCTION bench.submit(p_org uuid, p_id uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    m bench.models;
    a attempts;
    v_entry uuid := new_id();
BEGIN
    SELECT * INTO m FROM bench.models WHERE org = p_org;
    SELECT * INTO a FROM attempts WHERE org_id = p_org AND payment_id = m.payment;
    PERFORM bench.entry(p_org, m.submitted, v_entry);
    a.id := new_id();
    a.payment_id := p_id;
    a.rail_key := sha256(uuid_send(p_id));
    a.created_at := clock_timestamp();
    a.submit_by := a.created_at + interval '60 seconds';
    a.send_by := a.created_at + interval '5 seconds';
    a.intent_entry_id := v_entry;
    INSERT INTO attempts VALUES (a.*);
    UPDATE payments SET status = 'submitted', due_at = a.send_by + interval '1 hour', updated_at = a.created_at, entry_id = v_entry
    WHERE org_id = p_org AND id = p_id;
END $$;

CREATE FUNCTION bench.result(p_org uuid, p_id uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    m bench.models;
    y payments;
    r attempt_results;
    t transfers;
    o ledger_openings;
    h hold_resolutions;
    v_entry uuid := new_id();
BEGIN
    SELECT * INTO m FROM bench.models WHERE org = p_org;
    SELECT * INTO y FROM payments WHERE org_id = p_org AND id = m.payment;
    SELECT * INTO h FROM hold_resolutions WHERE org_id = p_org AND hold_id = y.hold_id;
    SELECT x.* INTO r FROM attempt_results x JOIN attempts a ON a.org_id = x.org_id AND a.id = x.attempt_id
    WHERE a.org_id = p_org AND a.payment_id = m.payment;
    SELECT * INTO t FROM transfers WHERE org_id = p_org AND payment_id = m.payment;
    FOR o IN SELECT * FROM ledger_openings WHERE org_id = p_org AND entry_id = m.resulted LOOP
        o.salt := sha256(uuid_send(gen_random_uuid()));
        o.commit := sha256(o.salt || o.value);
        o.entry_id := v_entry;
        INSERT INTO ledger_openings VALUES (o.*);
    END LOOP;
    r.id := new_id();
    r.attempt_id := (SELECT id FROM attempts WHERE org_id = p_org AND payment_id = p_id);
    r.provider_id := 'bench-' || p_id;
    r.at := v_now;
    r.entry_id := v_entry;
    INSERT INTO attempt_results VALUES (r.*);
    t.id := new_id();
    t.payment_id := p_id;
    t.created_at := v_now;
    t.entry_id := v_entry;
    INSERT INTO transfers VALUES (t.*);
    h.hold_id := (SELECT hold_id FROM payments WHERE org_id = p_org AND id = p_id);
    h.created_at := v_now;
    h.entry_id := v_entry;
    INSERT INTO hold_resolutions VALUES (h.*);
    UPDATE payments SET status = 'settled', captured = amount, provider_id = r.provider_id, checks = 1, lease_owner = NULL,
        lease_until = NULL, due_at = NULL, updated_at = v_now, entry_id = v_entry WHERE org_id = p_org AND id = p_id;
    PERFORM bench.entry(p_org, m.resulted, v_entry);
END $$;

CREATE FUNCTION bench.freeze(p_org uuid, p_id uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    k idempotency_keys;
BEGIN
    SELECT i.* INTO k FROM payments p JOIN bench.models m ON m.org = p.org_id JOIN idempotency_keys i
        ON i.org_id = p.org_id AND i.principal = wire('agt', p.agent_id) AND i.operation = 'payment' AND i.key_hash = m.key_hash
    WHERE p.org_id = p_org AND p.id = p_id;
    UPDATE idempotency_keys SET status = k.status, body = k.body, frozen_at = clock_timestamp()
    WHERE org_id = p_org AND principal = k.principal AND operation = k.operation AND key_hash = sha256(uuid_send(p_id));
END $$;
