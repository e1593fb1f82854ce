-- One function call decides for the database: it believes no caller, takes ids from the signed record and everything else from its own rows.

-- What stops this payment now, whatever the mandate says: platform, rail, organisation, project, agent, mandate, counterparty.
CREATE FUNCTION stopped_scope(f payment_facts) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT scope FROM (
        SELECT scope, 0 AS rank FROM platform_states WHERE stopped AND (scope = 'platform' OR (scope = 'rail' AND name = f.rail))
        UNION ALL
        SELECT scope, 1 FROM scope_states WHERE org_id = f.org AND livemode = f.livemode AND stopped
          AND (scope, scope_id) IN (('org', f.org), ('project', f.project), ('agent', f.agent), ('mandate', f.mandate), ('counterparty', f.counterparty),
            ('rail', (SELECT id FROM rail_accounts WHERE org_id = f.org AND rail = f.rail AND livemode = f.livemode)))
    ) s ORDER BY rank, scope LIMIT 1
$$;

-- Everything that one statement can change behind a payment's back, read again once the head is ours.
CREATE FUNCTION moved_since(f payment_facts, m mandates, p_policy_epoch bigint, p_version integer) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN stopped_scope(f) IS NOT NULL THEN 'stopped'
        WHEN mandate_revoked(m) THEN 'revoked'
        WHEN clock_timestamp() >= m.expires_at THEN 'expired'
        WHEN scope_epoch(f.org, f.livemode, 'policy', f.org) <> p_policy_epoch THEN 'policy'
        WHEN (SELECT version FROM counterparties WHERE org_id = f.org AND id = f.counterparty AND status <> 'retired') IS DISTINCT FROM p_version
            THEN 'counterparty'
        WHEN EXISTS (SELECT FROM agents WHERE org_id = f.org AND id = f.agent AND closed_at IS NOT NULL) THEN 'agent' END
$$;

-- Whether the mandate's own columns, filled when it was signed, cover these facts.
CREATE FUNCTION mandate_covers(m mandates, f payment_facts, p_now timestamptz, p_timezone text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT m.agent_id = f.agent AND m.livemode = f.livemode AND m.currency = f.currency AND f.amount BETWEEN 1 AND m.max_amount
       AND p_now < m.expires_at AND (m.not_before IS NULL OR p_now >= m.not_before)
       AND (m.purposes IS NULL OR coalesce(f.purpose = ANY (m.purposes), false))
       AND (m.counterparties IS NULL OR coalesce(f.counterparty = ANY (m.counterparties), false))
       AND (m.countries IS NULL OR coalesce(f.country = ANY (m.countries), false))
       AND (m.categories IS NULL OR coalesce(f.category = ANY (m.categories), false))
       AND (m.rails IS NULL OR coalesce(f.rail = ANY (m.rails), false))
       AND (m.time_windows IS NULL OR EXISTS (
            SELECT FROM jsonb_array_elements(m.time_windows) w
            WHERE in_windows(jsonb_build_array(w), p_now AT TIME ZONE coalesce(w->>'tz', p_timezone))))
$$;

-- Locks in the one order (mandate, counters, wallet, head), checks everything, writes nothing but missing counter rows.
-- p_until is at most a minute away, and hours open and close on whole minutes: what holds now and at the last instant holds in between.
-- NULL when the payment may go on; else the name of what has moved.
CREATE FUNCTION payment_gate(f payment_facts, p_wallet uuid, p_version integer, p_account text, p_now timestamptz, p_until timestamptz, p_approved boolean)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    m mandates;
    u mandate_usages;
    k counterparties;
    v_timezone text;
    v_policy_epoch bigint;
    v_outcome text;
    v_available bigint;
    v_last timestamptz := p_until - interval '1 microsecond';
BEGIN
    SELECT * INTO m FROM mandates WHERE org_id = f.org AND id = f.mandate;
    IF (p_until <= least(p_now + interval '60 seconds', m.expires_at)) IS NOT TRUE THEN
        PERFORM refuse('payments_submit_by', 'a payment leaves within a minute, and before its mandate expires');
    END IF;
    SELECT * INTO u FROM mandate_usages WHERE org_id = f.org AND mandate_id = f.mandate FOR NO KEY UPDATE;
    SELECT timezone INTO v_timezone FROM organisations WHERE id = f.org AND closed_at IS NULL;
    SELECT * INTO k FROM counterparties WHERE org_id = f.org AND id = f.counterparty AND livemode = f.livemode;
    IF m.id IS NULL OR u.mandate_id IS NULL OR u.paused
       OR (mandate_covers(m, f, p_now, v_timezone) AND mandate_covers(m, f, v_last, v_timezone)) IS NOT TRUE THEN
        RETURN 'mandate';
    END IF;
    IF (p_now < p_until) IS NOT TRUE THEN
        RETURN 'submit_by';
    END IF;
    IF u.spent + f.amount > u.budget OR u.uses + 1 > u.max_uses THEN
        RETURN 'mandate_usage';
    END IF;
    IF k.id IS NULL OR k.version IS DISTINCT FROM p_version OR k.status = 'retired' OR (k.status = 'proposed' AND NOT p_approved)
       OR NOT EXISTS (SELECT FROM counterparty_versions v, jsonb_array_elements(v.document->'accounts') a
                      WHERE v.org_id = f.org AND v.counterparty_id = f.counterparty AND v.version = p_version AND a->>'id' = p_account) THEN
        RETURN 'counterparty';
    END IF;
    IF NOT EXISTS (SELECT FROM rail_accounts WHERE org_id = f.org AND rail = f.rail AND livemode = f.livemode AND ready) THEN
        RETURN 'rail';
    END IF;
    v_policy_epoch := scope_epoch(f.org, f.livemode, 'policy', f.org);
    INSERT INTO counters (org_id, selector, currency, window_kind, window_start)
    SELECT f.org, c.selector, c.currency, c.window_kind, c.window_start FROM policy_counters(f, p_now AT TIME ZONE v_timezone) c
    ON CONFLICT DO NOTHING;
    PERFORM 1 FROM counters k2
    WHERE k2.org_id = f.org AND (k2.selector, k2.currency, k2.window_kind, k2.window_start)
          IN (SELECT c.selector, c.currency, c.window_kind, c.window_start FROM policy_counters(f, p_now AT TIME ZONE v_timezone) c)
    ORDER BY k2.selector, k2.currency, k2.window_kind, k2.window_start FOR NO KEY UPDATE;
    FOREACH v_outcome IN ARRAY ARRAY[policy_outcome(f, p_now, v_timezone), policy_outcome(f, v_last, v_timezone)] LOOP
        IF v_outcome = 'deny' OR (v_outcome = 'approval' AND NOT p_approved) THEN
            RETURN 'policy';
        END IF;
    END LOOP;
    SELECT available INTO v_available FROM accounts
    WHERE org_id = f.org AND id = p_wallet AND kind = 'wallet' AND agent_id = f.agent AND livemode = f.livemode AND currency = f.currency
    FOR NO KEY UPDATE;
    IF v_available IS NULL OR v_available < f.amount THEN
        RETURN 'wallet';
    END IF;
    PERFORM head_lock(f.org);
    RETURN moved_since(f, m, v_policy_epoch, p_version);
END $$;

-- The facts of a record, as this database knows them: amount and ids from the record, country and category from the registry.
CREATE FUNCTION facts_of(p_org uuid, p_agent uuid, d jsonb) RETURNS payment_facts LANGUAGE plpgsql STABLE AS $$
DECLARE
    f payment_facts;
BEGIN
    SELECT p_org, a.livemode, a.project_id, a.id, unwire('mnd', d->>'mandate'), k.id, k.country, k.category, d->>'purpose', d->>'rail',
           (d->>'amount')::bigint, d->>'currency'
    INTO f
    FROM agents a LEFT JOIN counterparties k ON k.org_id = a.org_id AND k.livemode = a.livemode AND k.id = unwire('ctp', d->>'counterparty')
    WHERE a.org_id = p_org AND a.id = p_agent;
    RETURN f;
END $$;

CREATE FUNCTION decision_add(p_org uuid, c jsonb, f payment_facts, p_payment uuid) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    d jsonb := record_part(c, 'decision');
    v_id uuid := unwire('dec', d->>'id');
BEGIN
    INSERT INTO decisions (org_id, id, payment_id, facts, outcome, layer, code, reasons, policies, shadows, entry_id)
    VALUES (p_org, v_id, p_payment, f, d->>'outcome', d->>'layer', d->>'code', d->'reasons', d->'policies', d->'shadows', unwire('ent', c->>'id'));
    RETURN v_id;
END $$;

-- The hold, and everything that counts it; the hold lists the counters, so that a release gives back to exactly these.
CREATE FUNCTION hold_add(p_org uuid, c jsonb, f payment_facts, p_payment uuid, p_wallet uuid, p_now timestamptz) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    v_id uuid := unwire('hld', record_part(c, 'hold')->>'id');
    v_local timestamp := p_now AT TIME ZONE (SELECT timezone FROM organisations o WHERE o.id = p_org);
    v_counters jsonb;
BEGIN
    SELECT coalesce(jsonb_agg(jsonb_build_array(k.selector, k.currency, k.window_kind, k.window_start)), '[]') INTO v_counters
    FROM policy_counters(f, v_local) k;
    UPDATE mandate_usages SET spent = spent + f.amount, uses = uses + 1 WHERE org_id = p_org AND mandate_id = f.mandate;
    UPDATE counters k SET amount = k.amount + f.amount, uses = k.uses + 1, last_at = p_now
    FROM policy_counters(f, v_local) n
    WHERE k.org_id = p_org AND k.selector = n.selector AND k.currency = n.currency AND k.window_kind = n.window_kind AND k.window_start = n.window_start;
    INSERT INTO holds (org_id, id, wallet_id, agent_id, mandate_id, payment_id, livemode, currency, amount, counters, entry_id)
    VALUES (p_org, v_id, p_wallet, f.agent, f.mandate, p_payment, f.livemode, f.currency, f.amount, v_counters, unwire('ent', c->>'id'));
    RETURN v_id;
END $$;

-- The rail's key is derived from what the request was, not made up: a database restored to yesterday derives it again.
CREATE FUNCTION rail_key(p_org uuid, p_livemode boolean, p_project uuid, p_principal text, p_operation text, p_key text) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256(convert_to(concat_ws(E'\n', 'codespar/rail-key/v1', (SELECT name FROM deployment), CASE WHEN p_livemode THEN 'live' ELSE 'test' END,
        wire('org', p_org), wire('prj', p_project), p_principal, p_operation, p_key), 'UTF8'))
$$;

-- kinds: payment.authorized | payment.denied | payment.approval_requested | payment.scheduled.
-- Returns {seq, hash}; {twin} when the key was claimed first by another request; {moved} when the decision must be made again.
CREATE FUNCTION authorise_one(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb, v_now timestamptz) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    p principal;
    f payment_facts;
    v_payment uuid;
    v_wallet uuid;
    v_status text;
    v_moved text;
    v_mandate uuid;
    v_hold uuid;
    v_decision uuid;
    v_entry uuid;
BEGIN
    c := record_open(p_org, p_content, '{payment.authorized,payment.denied,payment.approval_requested,payment.scheduled}');
    p := caller(p_org, p_digest, 'payments:write', c);
    d := c #> '{data,payment}';
    IF p.agent_id IS NULL OR c->>'project' IS DISTINCT FROM wire('prj', p.project_id) THEN
        PERFORM refuse('record_actor', 'payments are asked for by an agent, in its own project');
    END IF;
    f := facts_of(p_org, p.agent_id, d);
    v_payment := unwire('pay', d->>'id');
    v_entry := unwire('ent', c->>'id');
    v_status := CASE c->>'kind' WHEN 'payment.authorized' THEN 'authorized' WHEN 'payment.denied' THEN 'denied' WHEN 'payment.scheduled' THEN 'scheduled'
        ELSE 'requires_approval' END;
    SELECT id INTO v_wallet FROM accounts
    WHERE org_id = p_org AND kind = 'wallet' AND agent_id = p.agent_id AND livemode = p.livemode AND currency = f.currency;
    IF v_status <> 'scheduled' AND record_part(c, 'decision')->>'outcome' IS DISTINCT FROM
       (CASE v_status WHEN 'authorized' THEN 'allow' WHEN 'denied' THEN 'deny' ELSE 'approval' END) THEN
        PERFORM refuse('record_shape', 'the decision in the record is another than its kind');
    END IF;
    IF v_status = 'scheduled' AND ((d->>'execute_at')::timestamptz BETWEEN v_now - interval '1 minute' AND v_now + interval '366 days') IS NOT TRUE THEN
        PERFORM refuse('payments_execute_at', 'a payment is scheduled for a time to come, within a year');
    END IF;
    IF v_status = 'authorized' THEN
        v_moved := payment_gate(f, v_wallet, (d->>'counterparty_version')::integer, d->>'account', v_now, (d->>'submit_by')::timestamptz, false);
        v_moved := coalesce(v_moved, consent_moved(f, d));
        IF v_moved IS NOT NULL THEN
            IF EXISTS (SELECT FROM idempotency_keys WHERE org_id = p_org AND principal = p.actor AND operation = 'payment'
                       AND key_hash = decode(c #>> '{data,idempotency,key}', 'hex')) THEN
                RETURN jsonb_build_object('twin', true);
            END IF;
            RETURN jsonb_build_object('moved', v_moved);
        END IF;
    ELSE
        PERFORM head_lock(p_org);
    END IF;
    -- Whoever waited for the head may have lost the token meanwhile.
    PERFORM caller(p_org, p_digest, 'payments:write', c);
    -- One presentation and one transaction pay once, whatever key they come under.
    IF v_status <> 'denied' AND EXISTS (SELECT FROM payments WHERE org_id = p_org AND (presentation = d->>'presentation'
            OR (mandate_id = f.mandate AND transaction_id = d->>'transaction_id'))) THEN
        RETURN jsonb_build_object('twin', true);
    END IF;
    IF NOT idempotency_claim(p_org, p, 'payment', c, d->>'id') THEN
        RETURN jsonb_build_object('twin', true);
    END IF;
    SELECT id INTO v_mandate FROM mandates WHERE org_id = p_org AND project_id = f.project AND id = f.mandate AND agent_id = f.agent;
    f.mandate := v_mandate;
    v_decision := decision_add(p_org, c, f, v_payment);
    IF v_status = 'authorized' THEN
        v_hold := hold_add(p_org, c, f, v_payment, v_wallet, v_now);
    END IF;
    INSERT INTO payments (org_id, project_id, id, livemode, agent_id, mandate_id, wallet_id, counterparty_id, counterparty_version, account_id, amount,
        currency, purpose, rail, reference, memo, target, transaction_id, presentation, status, code, hold_id, decision_id, rail_key, execute_at, submit_by,
        due_at, consent_id,
        created_entry_id, entry_id)
    VALUES (p_org, f.project, v_payment, f.livemode, f.agent, v_mandate, v_wallet, f.counterparty, (d->>'counterparty_version')::integer, d->>'account', f.amount,
        f.currency, f.purpose, f.rail, d->>'reference_commit', d->>'memo_commit', d->>'target_commit', CASE WHEN v_status <> 'denied' THEN d->>'transaction_id' END,
        CASE WHEN v_status <> 'denied' THEN d->>'presentation' END, v_status, record_part(c, 'decision')->>'code', v_hold, v_decision,
        rail_key(p_org, f.livemode, f.project, p.actor, 'payment', c #>> '{data,idempotency,key}'), (d->>'execute_at')::timestamptz, (d->>'submit_by')::timestamptz,
        CASE v_status WHEN 'authorized' THEN v_now WHEN 'scheduled' THEN (d->>'execute_at')::timestamptz WHEN 'requires_approval' THEN v_now + interval '24 hours' END,
        CASE v_status WHEN 'authorized' THEN unwire('cns', d->>'consent') END, v_entry, v_entry);
    IF v_status = 'requires_approval' THEN
        INSERT INTO approvals (org_id, id, payment_id, requested_at, expires_at, entry_id)
        VALUES (p_org, unwire('apr', record_part(c, 'approval_request')->>'id'), v_payment, v_now, v_now + interval '24 hours', v_entry);
    END IF;
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;

-- The direct door: one payment.
CREATE FUNCTION authorise(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM enter(p_org);
    RETURN authorise_one(p_org, p_digest, p_content, p_sig, p_openings, clock_timestamp());
END $$;
CALL definer('authorise(uuid,bytea,bytea,bytea,jsonb)', '{codespar_agent}');

-- The locks of all payments of a batch, in the one order, before the first of them is looked at: two batches, or a batch and a payment,
-- never wait for each other.
CREATE FUNCTION batch_lock(p_org uuid, p_agent uuid, p_payments jsonb[], p_now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_facts payment_facts[];
    v_local timestamp := p_now AT TIME ZONE (SELECT timezone FROM organisations WHERE id = p_org);
BEGIN
    SELECT array_agg(facts_of(p_org, p_agent, x)) INTO v_facts FROM unnest(p_payments) x;
    PERFORM 1 FROM mandate_usages WHERE org_id = p_org AND mandate_id = ANY (SELECT (x).mandate FROM unnest(v_facts) x)
    ORDER BY mandate_id FOR NO KEY UPDATE;
    INSERT INTO counters (org_id, selector, currency, window_kind, window_start)
    SELECT DISTINCT p_org, n.selector, n.currency, n.window_kind, n.window_start FROM unnest(v_facts) x, policy_counters(x, v_local) n
    ORDER BY 2, 3, 4, 5
    ON CONFLICT DO NOTHING;
    PERFORM 1 FROM counters k WHERE k.org_id = p_org AND (k.selector, k.currency, k.window_kind, k.window_start)
        IN (SELECT n.selector, n.currency, n.window_kind, n.window_start FROM unnest(v_facts) x, policy_counters(x, v_local) n)
    ORDER BY k.selector, k.currency, k.window_kind, k.window_start FOR NO KEY UPDATE;
    PERFORM 1 FROM accounts WHERE org_id = p_org AND id = ANY (SELECT unwire('wal', x->>'wallet') FROM unnest(p_payments) x WHERE x->>'wallet' IS NOT NULL)
    ORDER BY id FOR NO KEY UPDATE;
    PERFORM head_lock(p_org);
END $$;

-- The other door: 1 to 128 payments of one agent at once, each with its own record, in their order, so that each sees the ones before it.
-- Returns what `authorise` would for each. A denial stops no other. What was decided on the word of a payment that then was not made is
-- {moved}, like that one: it is decided again. Only a token that died stops all.
CREATE FUNCTION authorise_batch(p_org uuid, p_digest bytea, p_contents bytea[], p_sigs bytea[], p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_done jsonb := '[]';
BEGIN
    PERFORM enter(p_org);
    IF (cardinality(p_contents) BETWEEN 1 AND 128 AND cardinality(p_sigs) = cardinality(p_contents)
        AND jsonb_array_length(p_openings) = cardinality(p_contents)) IS NOT TRUE THEN
        PERFORM refuse('payments_batch_size', 'a batch has 1 to 128 payments, each with its signature and its openings');
    END IF;
    PERFORM batch_lock(p_org, (principal_of(p_org, p_digest)).agent_id,
        ARRAY(SELECT convert_from(x, 'UTF8')::jsonb #> '{data,payment}' FROM unnest(p_contents) x), v_now);
    FOR i IN 1 .. cardinality(p_contents) LOOP
        v_done := v_done || CASE WHEN v_done = '[]' OR v_done->-1 ? 'seq'
            THEN authorise_one(p_org, p_digest, p_contents[i], p_sigs[i], nullif(p_openings->(i - 1), 'null'), v_now)
            ELSE '{"moved": "before"}' END;
    END LOOP;
    RETURN v_done;
END $$;
CALL definer('authorise_batch(uuid,bytea,bytea[],bytea[],jsonb)', '{codespar_agent}');

-- kind: payments.batch_received. The list as it came, under one hash, before any of it is decided.
CREATE FUNCTION batch_receive(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{payments.batch_received}');
    p := caller(p_org, p_digest, 'payments:write', c);
    IF p.agent_id IS NULL OR c->>'project' IS DISTINCT FROM wire('prj', p.project_id) THEN
        PERFORM refuse('record_actor', 'payments are asked for by an agent, in its own project');
    END IF;
    PERFORM head_lock(p_org);
    IF NOT idempotency_claim(p_org, p, 'batch', c, c #>> '{data,id}') THEN
        RETURN jsonb_build_object('twin', true);
    END IF;
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('batch_receive(uuid,bytea,bytea,bytea,jsonb)', '{codespar_agent}');

-- A person's word on a payment that waits. 'payment.approved' decides again under the same locks and uses the approval up;
-- 'payment.denied' is that second decision when it refuses; 'payment.rejected' is the person's no.
CREATE FUNCTION payment_vote(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    p principal;
    y payments;
    a approvals;
    f payment_facts;
    v_now timestamptz := clock_timestamp();
    v_moved text;
    v_hold uuid;
    v_decision uuid;
    v_entry uuid;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{payment.approved,payment.denied,payment.rejected}');
    p := caller(p_org, p_digest, 'payments:approve', c);
    d := c #> '{data,payment}';
    v_entry := unwire('ent', c->>'id');
    SELECT * INTO y FROM payments WHERE org_id = p_org AND id = unwire('pay', d->>'id') AND livemode = p.livemode FOR NO KEY UPDATE;
    SELECT * INTO a FROM approvals WHERE org_id = p_org AND payment_id = y.id;
    IF EXISTS (SELECT FROM idempotency_keys WHERE org_id = p_org AND principal = p.actor AND operation = 'vote'
               AND key_hash = decode(c #>> '{data,idempotency,key}', 'hex')) THEN
        RETURN jsonb_build_object('twin', true);
    END IF;
    IF p.member_id IS NULL OR y.status IS DISTINCT FROM 'requires_approval' OR a.expires_at <= v_now THEN
        PERFORM refuse('approvals_open', 'this payment does not wait for a person: it is decided, or its 24 hours are over');
    END IF;
    IF record_part(c, 'decision')->>'outcome' IS DISTINCT FROM
       (CASE c->>'kind' WHEN 'payment.approved' THEN 'allow' WHEN 'payment.denied' THEN 'deny' END) THEN
        PERFORM refuse('record_shape', 'the decision in the record is another than its kind');
    END IF;
    f := facts_of(p_org, y.agent_id, jsonb_build_object('mandate', wire('mnd', y.mandate_id), 'counterparty', wire('ctp', y.counterparty_id),
        'purpose', y.purpose, 'rail', y.rail, 'amount', y.amount, 'currency', y.currency));
    IF c->>'kind' = 'payment.approved' THEN
        v_moved := payment_gate(f, y.wallet_id, (d->>'counterparty_version')::integer, y.account_id, v_now, (d->>'submit_by')::timestamptz, true);
        v_moved := coalesce(v_moved, consent_moved(f, d));
        IF v_moved IS NOT NULL THEN
            RETURN jsonb_build_object('moved', v_moved);
        END IF;
    ELSE
        PERFORM head_lock(p_org);
    END IF;
    PERFORM caller(p_org, p_digest, 'payments:approve', c);
    IF NOT idempotency_claim(p_org, p, 'vote', c, d->>'id') THEN
        RETURN jsonb_build_object('twin', true);
    END IF;
    INSERT INTO approval_votes (org_id, approval_id, member_id, verdict, entry_id)
    VALUES (p_org, a.id, p.member_id, CASE c->>'kind' WHEN 'payment.rejected' THEN 'denied' ELSE 'approved' END, v_entry);
    v_decision := y.decision_id;
    IF c->>'kind' <> 'payment.rejected' THEN
        v_decision := decision_add(p_org, c, f, y.id);
    END IF;
    IF c->>'kind' = 'payment.approved' THEN
        v_hold := hold_add(p_org, c, f, y.id, y.wallet_id, v_now);
    END IF;
    UPDATE payments SET status = CASE c->>'kind' WHEN 'payment.approved' THEN 'authorized' ELSE 'denied' END,
        code = CASE c->>'kind' WHEN 'payment.rejected' THEN 'approval_denied' ELSE record_part(c, 'decision')->>'code' END,
        hold_id = v_hold, decision_id = v_decision, counterparty_version = coalesce((d->>'counterparty_version')::integer, counterparty_version),
        submit_by = coalesce((d->>'submit_by')::timestamptz, submit_by), due_at = CASE c->>'kind' WHEN 'payment.approved' THEN v_now END,
        consent_id = CASE c->>'kind' WHEN 'payment.approved' THEN unwire('cns', d->>'consent') END,
        updated_at = v_now, entry_id = v_entry
    WHERE org_id = p_org AND id = y.id;
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('payment_vote(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

GRANT EXECUTE ON FUNCTION stopped_scope, moved_since, mandate_covers, payment_gate, facts_of, decision_add, hold_add, rail_key, authorise_one, batch_lock,
    payment_moves, payment_fixed TO codespar_definer;
