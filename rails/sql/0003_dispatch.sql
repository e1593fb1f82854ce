-- From authorised to the end: claims, attempts, results, cancellations, refunds. All of it in batches of one organisation, one record each.

-- The one order of locks for payments that exist: payments, mandates, counters, wallets (then the head). Mandates and counters are
-- locked for what is released: a capture does not move them.
CREATE FUNCTION payments_lock(p_org uuid, p_ids uuid[], p_released uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM payments WHERE org_id = p_org AND id = ANY (p_ids) ORDER BY id FOR NO KEY UPDATE;
    PERFORM 1 FROM mandate_usages WHERE org_id = p_org
        AND mandate_id IN (SELECT mandate_id FROM payments WHERE org_id = p_org AND id = ANY (p_released)) ORDER BY mandate_id FOR NO KEY UPDATE;
    PERFORM 1 FROM counters k WHERE k.org_id = p_org
        AND (k.selector, k.currency, k.window_kind, k.window_start) IN (
            SELECT e->>0, e->>1, e->>2, (e->>3)::date FROM holds h, jsonb_array_elements(h.counters) e
            WHERE h.org_id = p_org AND h.payment_id = ANY (p_released))
        ORDER BY k.selector, k.currency, k.window_kind, k.window_start FOR NO KEY UPDATE;
    PERFORM books_lock(p_org, ARRAY(SELECT wallet_id FROM payments WHERE org_id = p_org AND id = ANY (p_ids)));
END $$;

-- The end of a hold: what is captured leaves by a transfer, the rest goes back to the wallet, to the mandate, and to exactly the counters
-- that the hold lists. A use comes back only with all of the money.
CREATE FUNCTION hold_resolve(p_org uuid, p_payment uuid, p_captured bigint, p_transfer uuid, p_entry uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    h holds;
    v_rail text := (SELECT rail FROM payments WHERE org_id = p_org AND id = p_payment);
    v_released bigint;
BEGIN
    SELECT * INTO h FROM holds WHERE org_id = p_org AND payment_id = p_payment;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    v_released := h.amount - p_captured;
    IF p_captured > 0 THEN
        INSERT INTO transfers (org_id, id, kind, debit_id, debit_kind, credit_id, credit_kind, livemode, currency, amount, mandate_id, payment_id, from_held, entry_id)
        VALUES (p_org, p_transfer, 'capture', h.wallet_id, 'wallet', account_of(p_org, 'clearing', h.livemode, h.currency, v_rail, p_entry), 'clearing',
                h.livemode, h.currency, p_captured, h.mandate_id, p_payment, true, p_entry);
    END IF;
    INSERT INTO hold_resolutions (org_id, hold_id, amount, captured, released, entry_id) VALUES (p_org, h.id, h.amount, p_captured, v_released, p_entry);
    IF v_released > 0 THEN
        UPDATE mandate_usages SET spent = spent - v_released, uses = uses - (p_captured = 0)::integer WHERE org_id = p_org AND mandate_id = h.mandate_id;
        UPDATE counters k SET amount = k.amount - v_released, uses = k.uses - (p_captured = 0)::integer FROM jsonb_array_elements(h.counters) e
        WHERE k.org_id = p_org AND k.selector = e->>0 AND k.currency = e->>1 AND k.window_kind = e->>2 AND k.window_start = (e->>3)::date;
    END IF;
END $$;

-- Before anything left: by the agent or a member who asks, or by the engine when a stop, a revocation or the deadline came first.
CREATE FUNCTION payments_cancel(p_org uuid, c jsonb, p_content bytea, p_sig bytea, p_openings jsonb, p_state text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_ids uuid[] := ARRAY(SELECT unwire('pay', i->>'payment') FROM jsonb_array_elements(c #> '{data,items}') i);
    v_entry uuid := unwire('ent', c->>'id');
    i jsonb;
BEGIN
    PERFORM payments_lock(p_org, v_ids, v_ids);
    IF EXISTS (SELECT FROM jsonb_array_elements(c #> '{data,items}') e LEFT JOIN payments y ON y.org_id = p_org AND y.id = unwire('pay', e->>'payment')
               WHERE y.status IS NULL OR y.status NOT IN ('scheduled', 'requires_approval', 'authorized') OR y.status IS DISTINCT FROM e->>'from'
                  OR y.livemode IS DISTINCT FROM (c->>'livemode')::boolean
                  OR (p_state = 'expired' AND clock_timestamp() < CASE WHEN y.status IN ('authorized', 'scheduled') THEN y.submit_by ELSE y.due_at END)) THEN
        RETURN jsonb_build_object('moved', 'state');
    END IF;
    PERFORM head_lock(p_org);
    FOR i IN SELECT * FROM jsonb_array_elements(c #> '{data,items}') LOOP
        PERFORM hold_resolve(p_org, unwire('pay', i->>'payment'), 0, NULL, v_entry);
        UPDATE payments SET status = p_state, code = i->>'code', due_at = NULL, lease_owner = NULL, lease_until = NULL,
            updated_at = clock_timestamp(), entry_id = v_entry WHERE org_id = p_org AND id = unwire('pay', i->>'payment');
    END LOOP;
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;

CREATE FUNCTION payment_cancel(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{payment.canceled}');
    p := caller(p_org, p_digest, 'payments:cancel', c);
    IF p.agent_id IS NOT NULL AND EXISTS (
        SELECT FROM jsonb_array_elements(c #> '{data,items}') i
        WHERE NOT EXISTS (SELECT FROM payments WHERE org_id = p_org AND id = unwire('pay', i->>'payment') AND agent_id = p.agent_id)) THEN
        PERFORM refuse('payments_known', 'there is no such payment of this agent');
    END IF;
    RETURN payments_cancel(p_org, c, p_content, p_sig, p_openings, 'canceled');
END $$;
CALL definer('payment_cancel(uuid,bytea,bytea,bytea,jsonb)', '{codespar_agent,codespar_control}');

CREATE FUNCTION payments_end_unsent(p_org uuid, p_content bytea, p_sig bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{payment.canceled,payment.expired}');
    PERFORM system_actor(c);
    RETURN payments_cancel(p_org, c, p_content, p_sig, NULL, CASE c->>'kind' WHEN 'payment.expired' THEN 'expired' ELSE 'canceled' END);
END $$;
CALL definer('payments_end_unsent(uuid,bytea,bytea)', '{codespar_rail}');

-- What the state of the world says about a payment that has not left: NULL, or why it must not leave.
CREATE FUNCTION send_block(p_org uuid, y payments) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    f payment_facts := facts_of(p_org, y.agent_id, jsonb_build_object('mandate', wire('mnd', y.mandate_id), 'counterparty', wire('ctp', y.counterparty_id),
        'purpose', y.purpose, 'rail', y.rail, 'amount', y.amount, 'currency', y.currency));
    m mandates;
BEGIN
    SELECT * INTO m FROM mandates WHERE org_id = p_org AND id = y.mandate_id;
    RETURN CASE WHEN stopped_scope(f) IS NOT NULL THEN 'stopped'
                WHEN mandate_revoked(m) THEN 'mandate_revoked'
                WHEN clock_timestamp() >= m.expires_at THEN 'mandate_expired'
                WHEN (SELECT paused FROM mandate_usages WHERE org_id = p_org AND mandate_id = m.id) THEN 'mandate_paused'
                WHEN NOT EXISTS (SELECT FROM counterparties WHERE org_id = p_org AND id = y.counterparty_id AND status <> 'retired')
                    THEN 'counterparty_retired'
                ELSE consent_block(p_org, y) END;
END $$;

-- Whether a payment that has left must come back: it was stopped, or its mandate revoked, while it was on its way.
CREATE FUNCTION must_return(p_org uuid, y payments) RETURNS boolean LANGUAGE sql STABLE AS
$$ SELECT coalesce(send_block(p_org, y) IN ('stopped', 'mandate_revoked'), false) $$;

CREATE FUNCTION payments_to_return(p_org uuid, p_ids uuid[]) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
BEGIN
    PERFORM enter(p_org);
    RETURN QUERY SELECT y.id FROM payments y WHERE y.org_id = p_org AND y.id = ANY (p_ids) AND must_return(p_org, y);
END $$;
CALL definer('payments_to_return(uuid,uuid[])', '{codespar_rail}');

-- authorized -> submitted, with a durable attempt for each. {moved: [ids]} names what must be left out; nothing was written then.
CREATE FUNCTION payments_submit(p_org uuid, p_content bytea, p_sig bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    i jsonb;
    y payments;
    v_entry uuid;
    v_moved jsonb := '[]';
    v_reason text;
    v_done jsonb;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{payments.submitted}');
    PERFORM system_actor(c);
    v_entry := unwire('ent', c->>'id');
    PERFORM 1 FROM payments WHERE org_id = p_org AND id = ANY (ARRAY(SELECT unwire('pay', e->>'payment') FROM jsonb_array_elements(c #> '{data,items}') e))
    ORDER BY id FOR NO KEY UPDATE;
    PERFORM head_lock(p_org);
    FOR i IN SELECT * FROM jsonb_array_elements(c #> '{data,items}') LOOP
        SELECT * INTO y FROM payments WHERE org_id = p_org AND id = unwire('pay', i->>'payment');
        v_reason := CASE WHEN y.status IS DISTINCT FROM 'authorized' OR y.livemode IS DISTINCT FROM (c->>'livemode')::boolean
                           OR encode(y.rail_key, 'hex') IS DISTINCT FROM i->>'rail_key' THEN 'state'
                         WHEN clock_timestamp() >= y.submit_by THEN 'expired' ELSE send_block(p_org, y) END;
        IF v_reason IS NOT NULL THEN
            v_moved := v_moved || jsonb_build_object('payment', i->>'payment', 'reason', v_reason);
        END IF;
    END LOOP;
    IF jsonb_array_length(v_moved) > 0 THEN
        RETURN jsonb_build_object('moved', v_moved);
    END IF;
    v_done := record_append(p_org, p_content, p_sig, c);
    FOR i IN SELECT * FROM jsonb_array_elements(c #> '{data,items}') LOOP
        INSERT INTO attempts (org_id, id, payment_id, operation, rail, rail_key, worker, send_by, submit_by, intent_entry_id)
        SELECT p_org, unwire('att', i->>'attempt'), id, 'pay', rail, payments.rail_key, i->>'worker', (i->>'send_by')::timestamptz, submit_by, v_entry
        FROM payments WHERE org_id = p_org AND id = unwire('pay', i->>'payment');
        UPDATE payments SET status = 'submitted', rail_ref = i->>'key', rail_payee = (
                SELECT a->>'value' FROM counterparty_versions v, jsonb_array_elements(v.document->'accounts') a
                WHERE v.org_id = p_org AND v.counterparty_id = payments.counterparty_id AND v.version = payments.counterparty_version AND a->>'id' = payments.account_id),
            due_at = (i->>'send_by')::timestamptz, checks = 0, updated_at = clock_timestamp(), entry_id = v_entry
        WHERE org_id = p_org AND id = unwire('pay', i->>'payment');
    END LOOP;
    RETURN v_done;
END $$;
CALL definer('payments_submit(uuid,bytea,bytea)', '{codespar_rail}');

-- The last look before the first byte: attempts that may still go out. Writes nothing.
CREATE FUNCTION may_send(p_org uuid, p_attempts uuid[]) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
BEGIN
    PERFORM enter(p_org);
    RETURN QUERY
        SELECT a.id FROM attempts a JOIN payments y ON y.org_id = a.org_id AND y.id = a.payment_id
        LEFT JOIN refunds r ON r.org_id = a.org_id AND r.id = a.refund_id
        WHERE a.org_id = p_org AND a.id = ANY (p_attempts) AND clock_timestamp() < a.send_by
          AND CASE a.operation WHEN 'pay' THEN y.status = 'submitted' AND send_block(p_org, y) IS NULL
                               WHEN 'refund' THEN r.status = 'submitted'
                               ELSE y.status IN ('submitted', 'uncertain') AND must_return(p_org, y) = (a.operation = 'cancel') END
          AND NOT EXISTS (SELECT FROM attempt_results x WHERE x.org_id = a.org_id AND x.attempt_id = a.id);
END $$;
CALL definer('may_send(uuid,uuid[])', '{codespar_rail}');

-- The next word to a rail that has the payment already: capture what it holds, or cancel what must come back. A durable attempt for each;
-- one that may still be on its way is waited for. {moved: [ids]} names what must be left out; nothing was written then.
CREATE FUNCTION payments_follow(p_org uuid, p_content bytea, p_sig bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    i jsonb;
    y payments;
    v_entry uuid;
    v_moved jsonb := '[]';
    v_done jsonb;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{payments.followed}');
    PERFORM system_actor(c);
    v_entry := unwire('ent', c->>'id');
    PERFORM 1 FROM payments WHERE org_id = p_org AND id = ANY (ARRAY(SELECT unwire('pay', e->>'payment') FROM jsonb_array_elements(c #> '{data,items}') e))
    ORDER BY id FOR NO KEY UPDATE;
    PERFORM head_lock(p_org);
    FOR i IN SELECT * FROM jsonb_array_elements(c #> '{data,items}') LOOP
        SELECT * INTO y FROM payments WHERE org_id = p_org AND id = unwire('pay', i->>'payment');
        IF y.status NOT IN ('submitted', 'uncertain') OR y.livemode IS DISTINCT FROM (c->>'livemode')::boolean
           OR encode(y.rail_key, 'hex') IS DISTINCT FROM i->>'rail_key'
           OR (CASE i->>'operation' WHEN 'capture' THEN y.stage = 'reserved' AND NOT must_return(p_org, y)
                                    WHEN 'cancel' THEN y.stage IS NOT NULL AND must_return(p_org, y) END) IS NOT TRUE
           OR EXISTS (SELECT FROM attempts a WHERE a.org_id = p_org AND a.payment_id = y.id AND a.operation IN ('capture', 'cancel')
                      AND a.send_by > clock_timestamp()
                      AND NOT EXISTS (SELECT FROM attempt_results r WHERE r.org_id = p_org AND r.attempt_id = a.id)) THEN
            v_moved := v_moved || (i->'payment');
        END IF;
    END LOOP;
    IF jsonb_array_length(v_moved) > 0 THEN
        RETURN jsonb_build_object('moved', v_moved);
    END IF;
    v_done := record_append(p_org, p_content, p_sig, c);
    FOR i IN SELECT * FROM jsonb_array_elements(c #> '{data,items}') LOOP
        INSERT INTO attempts (org_id, id, payment_id, operation, rail, rail_key, worker, send_by, intent_entry_id)
        SELECT p_org, unwire('att', i->>'attempt'), id, i->>'operation', rail, payments.rail_key, i->>'worker', (i->>'send_by')::timestamptz, v_entry
        FROM payments WHERE org_id = p_org AND id = unwire('pay', i->>'payment');
        UPDATE payments SET due_at = (i->>'send_by')::timestamptz, updated_at = clock_timestamp(), entry_id = v_entry
        WHERE org_id = p_org AND id = unwire('pay', i->>'payment');
    END LOOP;
    RETURN v_done;
END $$;
CALL definer('payments_follow(uuid,bytea,bytea)', '{codespar_rail}');

-- When the rail is asked again: soon at first, then ever more slowly, at most every five minutes.
CREATE FUNCTION next_check(p_checks integer) RETURNS timestamptz LANGUAGE sql STABLE AS
$$ SELECT clock_timestamp() + make_interval(secs => least(300, 2 ^ least(p_checks, 9))) $$;

-- Whether a result proves the step that is claimed for it. What is not on this list proves nothing.
CREATE FUNCTION rail_proves(p_org uuid, i jsonb, a attempts) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT coalesce(CASE
        WHEN i->>'to' IS NULL OR i->>'to' IN ('uncertain', 'needs_human') THEN true
        WHEN i->>'to' = 'settled' THEN i->>'result' = 'settled' OR (i->>'result' = 'canceled' AND (i->>'moved')::bigint > 0)
        WHEN i->>'to' = 'canceled' THEN i->>'result' = 'canceled' AND i->>'proof' = 'canceled' AND (i->>'moved')::bigint = 0
        WHEN i->>'to' = 'failed' THEN CASE i->>'proof'
            WHEN 'rejected' THEN i->>'result' = 'rejected' AND a.operation IN ('pay', 'refund')
            -- The live holder of the attempt says so, before anybody has heard anything else.
            WHEN 'unsent' THEN i->>'source' = 'answer' AND i->>'result' = 'unknown' AND a.operation IN ('pay', 'refund')
                AND NOT EXISTS (SELECT FROM attempt_results x WHERE x.org_id = p_org AND x.attempt_id = a.id)
            WHEN 'not_found_after_window' THEN i->>'result' = 'not_found' AND i->>'source' = 'query' AND clock_timestamp() >= a.send_by
        END END, false)
$$;

-- What the rail said, for many payments at once. Each item: {payment, attempt, result id, source, result, code, proof?, provider_id?, from, to?}.
-- `moved` is how much a canceled payment had moved: that much is captured, the rest released.
-- {moved: [ids]} names items whose payment went on in the meantime; nothing was written then.
CREATE FUNCTION payments_result(p_org uuid, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    i jsonb;
    y payments;
    a attempts;
    v_entry uuid;
    v_moved jsonb := '[]';
    v_captured bigint;
    v_done jsonb;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{payments.resulted}');
    PERFORM system_actor(c);
    v_entry := unwire('ent', c->>'id');
    PERFORM payments_lock(p_org, ARRAY(SELECT unwire('pay', e->>'payment') FROM jsonb_array_elements(c #> '{data,items}') e),
        ARRAY(SELECT unwire('pay', e->>'payment') FROM jsonb_array_elements(c #> '{data,items}') e WHERE e->>'to' = 'failed' OR e->>'result' = 'canceled'));
    FOR i IN SELECT * FROM jsonb_array_elements(c #> '{data,items}') LOOP
        SELECT * INTO y FROM payments WHERE org_id = p_org AND id = unwire('pay', i->>'payment');
        SELECT * INTO a FROM attempts WHERE org_id = p_org AND id = unwire('att', i->>'attempt') AND payment_id = y.id AND refund_id IS NULL;
        IF a.id IS NULL OR y.status NOT IN ('submitted', 'uncertain') OR y.status IS DISTINCT FROM i->>'from'
           OR y.livemode IS DISTINCT FROM (c->>'livemode')::boolean THEN
            v_moved := v_moved || (i->'payment');
        ELSIF NOT rail_proves(p_org, i, a) OR (i->>'moved')::bigint NOT BETWEEN 0 AND y.amount THEN
            PERFORM refuse('payments_proof', 'the rail''s word does not prove that');
        END IF;
    END LOOP;
    IF jsonb_array_length(v_moved) > 0 THEN
        RETURN jsonb_build_object('moved', v_moved);
    END IF;
    v_done := record_append(p_org, p_content, p_sig, c, p_openings);
    FOR i IN SELECT * FROM jsonb_array_elements(c #> '{data,items}') LOOP
        SELECT * INTO y FROM payments WHERE org_id = p_org AND id = unwire('pay', i->>'payment');
        INSERT INTO attempt_results (org_id, id, attempt_id, source, result, code, proof, provider_id, moved, entry_id)
        VALUES (p_org, unwire('evt', i->>'id'), unwire('att', i->>'attempt'), i->>'source', i->>'result', i->>'code', i->>'proof', i->>'provider_id',
                (i->>'moved')::bigint, v_entry);
        v_captured := CASE i->>'to' WHEN 'settled' THEN CASE i->>'result' WHEN 'canceled' THEN (i->>'moved')::bigint ELSE y.amount END ELSE 0 END;
        IF i->>'to' IN ('settled', 'failed', 'canceled') THEN
            PERFORM hold_resolve(p_org, y.id, v_captured, unwire('tr', i->>'transfer'), v_entry);
        END IF;
        UPDATE payments SET status = coalesce(i->>'to', status), code = CASE WHEN i->>'to' IS NULL THEN code ELSE i->>'code' END,
            provider_id = coalesce(provider_id, CASE WHEN i->>'to' = 'settled' OR i->>'result' IN ('accepted', 'reserved') THEN i->>'provider_id' END),
            stage = CASE WHEN i->>'result' IN ('accepted', 'reserved') THEN i->>'result' ELSE stage END,
            captured = captured + v_captured,
            checks = checks + 1, lease_owner = NULL, lease_until = NULL,
            -- What is reserved is captured or voided next. What settled though it must come back is due for its way back (refund_initiate).
            due_at = CASE WHEN coalesce(i->>'to', status) IN ('submitted', 'uncertain')
                              THEN CASE WHEN i->>'result' = 'reserved' AND stage IS DISTINCT FROM 'reserved' THEN clock_timestamp() ELSE next_check(checks) END
                          WHEN i->>'to' = 'settled' AND must_return(p_org, y) THEN clock_timestamp() END,
            updated_at = clock_timestamp(), entry_id = v_entry
        WHERE org_id = p_org AND id = y.id;
    END LOOP;
    RETURN v_done;
END $$;
CALL definer('payments_result(uuid,bytea,bytea,jsonb)', '{codespar_rail}');

-- What the rail answered when it was paid, for who may see the payment: an agent its own, people those of the token's mode. For some rails that is what
-- was bought. The other words of rails are evidence, and no agent's.
CREATE FUNCTION payment_answer(p_org uuid, p_digest bytea, p_payment uuid) RETURNS bytea LANGUAGE plpgsql STABLE AS $$
DECLARE
    p principal;
BEGIN
    PERFORM enter(p_org);
    p := holder(p_org, p_digest, 'payments:read');
    RETURN (SELECT o.value FROM payments y
            JOIN attempts a ON a.org_id = y.org_id AND a.payment_id = y.id AND a.operation = 'pay'
            JOIN attempt_results r ON r.org_id = y.org_id AND r.attempt_id = a.id AND r.source = 'answer'
            JOIN ledger_entries e ON e.org_id = y.org_id AND e.id = r.entry_id
            CROSS JOIN jsonb_array_elements(convert_from(e.content, 'UTF8')::jsonb #> '{data,items}') i
            JOIN ledger_openings o ON o.org_id = y.org_id AND o.commit = decode(i->>'answer_commit', 'hex')
            WHERE y.org_id = p_org AND y.id = p_payment AND y.livemode = p.livemode AND (p.agent_id IS NULL OR y.agent_id = p.agent_id)
              AND i->>'id' = wire('evt', r.id));
END $$;
CALL definer('payment_answer(uuid,bytea,uuid)', '{codespar_agent,codespar_control}');

-- Asked again and nothing new: the next question comes later. Not a step of the payment, so not a record.
CREATE FUNCTION work_later(p_org uuid, p_kind text, p_id uuid, p_owner text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM enter(p_org);
    IF p_kind = 'payment' THEN
        UPDATE payments SET checks = checks + 1, due_at = next_check(checks), lease_owner = NULL, lease_until = NULL
        WHERE org_id = p_org AND id = p_id AND lease_owner = p_owner AND due_at IS NOT NULL;
    ELSE
        UPDATE refunds SET checks = checks + 1, due_at = next_check(checks), lease_owner = NULL, lease_until = NULL
        WHERE org_id = p_org AND id = p_id AND lease_owner = p_owner AND due_at IS NOT NULL;
    END IF;
END $$;
CALL definer('work_later(uuid,text,uuid,text)', '{codespar_rail}');

-- The rail is left alone for now: payments that have not left look again a little later, while they may leave at all.
CREATE FUNCTION work_wait(p_org uuid, p_ids uuid[], p_owner text, p_for interval) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM enter(p_org);
    UPDATE payments SET due_at = least(clock_timestamp() + p_for, submit_by), lease_owner = NULL, lease_until = NULL
    WHERE org_id = p_org AND id = ANY (p_ids) AND lease_owner = p_owner AND status = 'authorized';
END $$;
CALL definer('work_wait(uuid,uuid[],text,interval)', '{codespar_rail}');

-- A notice from the rail: ask now instead of later.
CREATE FUNCTION work_now(p_org uuid, p_rail text, p_livemode boolean, p_ref text, p_provider_id text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_found boolean;
BEGIN
    PERFORM enter(p_org);
    UPDATE payments SET due_at = clock_timestamp() WHERE org_id = p_org AND rail = p_rail AND livemode = p_livemode
        AND status IN ('submitted', 'uncertain') AND (rail_ref = p_ref OR provider_id = p_provider_id);
    v_found := FOUND;
    UPDATE refunds r SET due_at = clock_timestamp() WHERE org_id = p_org AND rail = p_rail
        AND status IN ('submitted', 'uncertain') AND (rail_ref = p_ref OR provider_id = p_provider_id)
        AND EXISTS (SELECT FROM payments y WHERE y.org_id = p_org AND y.id = r.payment_id AND y.livemode = p_livemode);
    RETURN v_found OR FOUND;
END $$;
CALL definer('work_now(uuid,text,boolean,text,text)', '{codespar_rail}');

-- The queue of one rail: whose turn it is, leased to one worker at a time. Ids and states only, over all organisations.
CREATE FUNCTION due_work(p_owner text, p_limit integer, p_lease_seconds integer, p_rail text)
RETURNS TABLE (org uuid, kind text, id uuid, status text) LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_until timestamptz := v_now + make_interval(secs => p_lease_seconds);
    v_orgs uuid[];
    v_ids uuid[];
BEGIN
    -- First who, then the lease, by key: in one statement the planner, who cannot know the limit, reads every payment there ever was.
    SELECT array_agg(w.org_id), array_agg(w.id) INTO v_orgs, v_ids
    FROM (SELECT y.org_id, y.id FROM payments y WHERE y.rail = p_rail AND y.due_at <= v_now AND (y.lease_until IS NULL OR y.lease_until < v_now)
            AND y.status <> 'scheduled'
          ORDER BY y.due_at LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED) w;
    RETURN QUERY
        UPDATE payments y SET lease_owner = p_owner, lease_until = v_until FROM unnest(v_orgs, v_ids) w (org_id, id)
        WHERE y.org_id = w.org_id AND y.id = w.id
        RETURNING y.org_id, 'payment'::text, y.id, y.status;
    SELECT array_agg(w.org_id), array_agg(w.id) INTO v_orgs, v_ids
    FROM (SELECT y.org_id, y.id FROM refunds y WHERE y.rail = p_rail AND y.due_at <= v_now AND (y.lease_until IS NULL OR y.lease_until < v_now)
          ORDER BY y.due_at LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED) w;
    RETURN QUERY
        UPDATE refunds y SET lease_owner = p_owner, lease_until = v_until FROM unnest(v_orgs, v_ids) w (org_id, id)
        WHERE y.org_id = w.org_id AND y.id = w.id
        RETURNING y.org_id, 'refund'::text, y.id, y.status;
END $$;

-- Who holds leases, and the end of a lease whose process is gone: its rows are due again at once.
CREATE FUNCTION lease_owners() RETURNS SETOF text LANGUAGE sql STABLE AS $$
    SELECT lease_owner FROM payments WHERE due_at IS NOT NULL AND lease_until > clock_timestamp()
    UNION SELECT lease_owner FROM refunds WHERE due_at IS NOT NULL AND lease_until > clock_timestamp()
$$;
CREATE FUNCTION lease_end(p_owner text) RETURNS void LANGUAGE sql AS $$
    UPDATE payments SET lease_until = clock_timestamp() WHERE lease_owner = p_owner AND due_at IS NOT NULL;
    UPDATE refunds SET lease_until = clock_timestamp() WHERE lease_owner = p_owner AND due_at IS NOT NULL;
$$;
CREATE POLICY scanner ON payments TO codespar_scanner USING (true);
CREATE POLICY scanner ON refunds TO codespar_scanner USING (true);
GRANT SELECT (org_id, id, rail, status, due_at, lease_owner, lease_until), UPDATE (lease_owner, lease_until) ON payments TO codespar_scanner;
GRANT SELECT (org_id, id, rail, status, due_at, lease_owner, lease_until), UPDATE (lease_owner, lease_until) ON refunds TO codespar_scanner;
CALL definer('due_work(text,integer,integer,text)', '{codespar_rail}', 'codespar_scanner');
CALL definer('lease_owners()', '{codespar_rail}', 'codespar_scanner');
CALL definer('lease_end(text)', '{codespar_rail}', 'codespar_scanner');

-- Where something was stopped or revoked lately; and what of it is on its way at a rail is due now.
CREATE FUNCTION stopped_lately(p_within interval) RETURNS SETOF uuid LANGUAGE sql STABLE AS $$
    WITH found AS (
        SELECT org_id, scope_id, at FROM stops UNION ALL SELECT org_id, scope_id, at FROM revocations
    ), lately AS (SELECT * FROM found WHERE at > clock_timestamp() - p_within)
    SELECT DISTINCT y.org_id FROM payments y
    WHERE y.due_at IS NOT NULL AND y.status IN ('submitted', 'uncertain')
      AND EXISTS (SELECT FROM lately l WHERE l.scope_id IS NULL OR l.org_id = y.org_id)
$$;
CREATE POLICY scanner ON revocations FOR SELECT TO codespar_scanner USING (true);
GRANT SELECT (at) ON stops TO codespar_scanner;
GRANT SELECT (org_id, scope_id, at) ON revocations TO codespar_scanner;
CALL definer('stopped_lately(interval)', '{codespar_rail}', 'codespar_scanner');

CREATE FUNCTION work_stopped(p_org uuid) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM enter(p_org);
    RETURN QUERY
        WITH hurried AS (
            UPDATE payments y SET due_at = clock_timestamp()
            WHERE y.org_id = p_org AND y.status IN ('submitted', 'uncertain') AND y.stage IS NOT NULL
              AND y.due_at > clock_timestamp() + interval '5 seconds' AND must_return(p_org, y)
              AND NOT EXISTS (SELECT FROM attempts a WHERE a.org_id = p_org AND a.payment_id = y.id AND a.operation = 'cancel')
            RETURNING y.rail)
        SELECT DISTINCT h.rail FROM hurried h;
END $$;
CALL definer('work_stopped(uuid)', '{codespar_rail}');

-- Refunds: asked for by a person, moved by the dispatcher, booked on the rail's word.
CREATE FUNCTION refund_create(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    p principal;
    y payments;
    v_entry uuid;
    v_amount bigint;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{refund.requested}');
    p := caller(p_org, p_digest, 'payments:refund', c);
    d := c #> '{data,refund}';
    v_entry := unwire('ent', c->>'id');
    v_amount := (d->>'amount')::bigint;
    SELECT * INTO y FROM payments WHERE org_id = p_org AND id = unwire('pay', d->>'payment') AND livemode = p.livemode FOR NO KEY UPDATE;
    PERFORM head_lock(p_org);
    IF EXISTS (SELECT FROM idempotency_keys WHERE org_id = p_org AND principal = p.actor AND operation = 'refund'
               AND key_hash = decode(c #>> '{data,idempotency,key}', 'hex')) THEN
        RETURN jsonb_build_object('twin', true);
    END IF;
    IF y.status IS DISTINCT FROM 'settled' OR v_amount IS NULL OR v_amount < 1 OR y.refunded + y.refunding + v_amount > y.captured THEN
        PERFORM refuse('payments_refunds', 'only what a settled payment moved, and has not already given back, can be refunded');
    END IF;
    IF (record_part(c, 'transition') IS NOT NULL) <> (y.refunded + y.refunding + v_amount = y.captured) THEN
        RETURN jsonb_build_object('moved', 'state');
    END IF;
    PERFORM idempotency_claim(p_org, p, 'refund', c, d->>'id');
    INSERT INTO refunds (org_id, id, payment_id, rail, amount, status, rail_key, requested_by, due_at, entry_id)
    VALUES (p_org, unwire('ref', d->>'id'), y.id, y.rail, v_amount, 'authorized',
            rail_key(p_org, y.livemode, y.project_id, p.actor, 'refund', c #>> '{data,idempotency,key}'), p.actor, clock_timestamp(), v_entry);
    UPDATE payments SET refunding = refunding + v_amount,
        status = CASE WHEN refunded + refunding + v_amount = captured THEN 'reversing' ELSE status END,
        due_at = CASE WHEN refunded + refunding + v_amount < captured THEN due_at END, updated_at = clock_timestamp(), entry_id = v_entry
    WHERE org_id = p_org AND id = y.id;
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('refund_create(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

-- The rollback of a payment that settled after it was stopped or its mandate was revoked: all that it moved and that nobody has asked back.
CREATE FUNCTION refund_initiate(p_org uuid, p_content bytea, p_sig bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    y payments;
    v_entry uuid;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{refund.initiated}');
    PERFORM system_actor(c);
    d := c #> '{data,refund}';
    v_entry := unwire('ent', c->>'id');
    SELECT * INTO y FROM payments WHERE org_id = p_org AND id = unwire('pay', d->>'payment') FOR NO KEY UPDATE;
    IF y.status IS DISTINCT FROM 'settled' OR y.due_at IS NULL OR y.livemode IS DISTINCT FROM (c->>'livemode')::boolean
       OR (d->>'amount')::bigint IS DISTINCT FROM y.captured - y.refunded - y.refunding THEN
        RETURN jsonb_build_object('moved', 'state');
    END IF;
    PERFORM head_lock(p_org);
    INSERT INTO refunds (org_id, id, payment_id, rail, amount, status, rail_key, requested_by, due_at, entry_id)
    VALUES (p_org, unwire('ref', d->>'id'), y.id, y.rail, (d->>'amount')::bigint, 'authorized',
            rail_key(p_org, y.livemode, y.project_id, 'system', 'rollback', wire('pay', y.id)), c->>'actor', clock_timestamp(), v_entry);
    UPDATE payments SET refunding = refunding + (d->>'amount')::bigint, status = 'reversing', due_at = NULL, lease_owner = NULL, lease_until = NULL,
        updated_at = clock_timestamp(), entry_id = v_entry WHERE org_id = p_org AND id = y.id;
    RETURN record_append(p_org, p_content, p_sig, c);
END $$;
CALL definer('refund_initiate(uuid,bytea,bytea)', '{codespar_rail}');

-- What settled though it must come back, on a rail with no way back: a case for people, who are told how much is owed.
CREATE FUNCTION payment_hand_over(p_org uuid, p_content bytea, p_sig bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    y payments;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{payment.handed_over}');
    PERFORM system_actor(c);
    d := c #> '{data,payment}';
    SELECT * INTO y FROM payments WHERE org_id = p_org AND id = unwire('pay', d->>'id') FOR NO KEY UPDATE;
    IF y.status IS DISTINCT FROM 'settled' OR y.due_at IS NULL OR y.livemode IS DISTINCT FROM (c->>'livemode')::boolean
       OR (d->>'owed')::bigint IS DISTINCT FROM y.captured - y.refunded - y.refunding THEN
        RETURN jsonb_build_object('moved', 'state');
    END IF;
    PERFORM head_lock(p_org);
    UPDATE payments SET status = 'needs_human', code = d->>'code', due_at = NULL, lease_owner = NULL, lease_until = NULL,
        updated_at = clock_timestamp(), entry_id = unwire('ent', c->>'id') WHERE org_id = p_org AND id = y.id;
    RETURN record_append(p_org, p_content, p_sig, c);
END $$;
CALL definer('payment_hand_over(uuid,bytea,bytea)', '{codespar_rail}');

CREATE FUNCTION refund_submit(p_org uuid, p_content bytea, p_sig bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    r refunds;
    v_entry uuid;
    v_done jsonb;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{refund.submitted}');
    PERFORM system_actor(c);
    d := c #> '{data,refund}';
    v_entry := unwire('ent', c->>'id');
    SELECT * INTO r FROM refunds WHERE org_id = p_org AND id = unwire('ref', d->>'id') FOR NO KEY UPDATE;
    IF r.status IS DISTINCT FROM 'authorized' OR encode(r.rail_key, 'hex') IS DISTINCT FROM d->>'rail_key'
       OR NOT EXISTS (SELECT FROM payments WHERE org_id = p_org AND id = r.payment_id AND livemode = (c->>'livemode')::boolean) THEN
        RETURN jsonb_build_object('moved', 'state');
    END IF;
    v_done := record_append(p_org, p_content, p_sig, c);
    INSERT INTO attempts (org_id, id, payment_id, refund_id, operation, rail, rail_key, worker, send_by, intent_entry_id)
    SELECT p_org, unwire('att', d->>'attempt'), y.id, r.id, 'refund', y.rail, r.rail_key, d->>'worker', (d->>'send_by')::timestamptz, v_entry
    FROM payments y WHERE y.org_id = p_org AND y.id = r.payment_id;
    UPDATE refunds SET status = 'submitted', rail_ref = d->>'key', due_at = (d->>'send_by')::timestamptz, checks = 0, updated_at = clock_timestamp(), entry_id = v_entry
    WHERE org_id = p_org AND id = r.id;
    RETURN v_done;
END $$;
CALL definer('refund_submit(uuid,bytea,bytea)', '{codespar_rail}');

-- The refunded money goes back to its wallet, or home to main when the wallet's scope is stopped.
CREATE FUNCTION refund_result(p_org uuid, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    i jsonb;
    r refunds;
    y payments;
    a attempts;
    v_entry uuid;
    v_main boolean;
    v_next text;
    v_done jsonb;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{refund.resulted}');
    PERFORM system_actor(c);
    i := c #> '{data,refund}';
    v_entry := unwire('ent', c->>'id');
    SELECT * INTO y FROM payments WHERE org_id = p_org AND id = unwire('pay', i->>'payment') FOR NO KEY UPDATE;
    SELECT * INTO r FROM refunds WHERE org_id = p_org AND id = unwire('ref', i->>'id') AND payment_id = y.id FOR NO KEY UPDATE;
    SELECT * INTO a FROM attempts WHERE org_id = p_org AND id = unwire('att', i->>'attempt') AND refund_id = r.id;
    IF a.id IS NULL OR r.status NOT IN ('submitted', 'uncertain') OR r.status IS DISTINCT FROM i->>'from'
       OR y.livemode IS DISTINCT FROM (c->>'livemode')::boolean OR r.amount IS DISTINCT FROM (i->>'amount')::bigint THEN
        RETURN jsonb_build_object('moved', 'state');
    END IF;
    IF NOT rail_proves(p_org, i, a) THEN
        PERFORM refuse('payments_proof', 'the rail''s word does not prove that');
    END IF;
    -- The step that this makes of the payment must be the one that the record tells of.
    -- What the engine asked back and does not get is a human's, with the amount owed.
    v_next := CASE WHEN y.status <> 'reversing' OR i->>'to' IS NULL OR i->>'to' = 'uncertain' THEN NULL
                   WHEN i->>'to' = 'needs_human' OR (i->>'to' = 'failed' AND r.requested_by LIKE 'system:%') THEN 'needs_human'
                   WHEN i->>'to' = 'failed' THEN 'settled'
                   WHEN y.refunded + r.amount = y.captured THEN 'reversed' END;
    IF v_next IS DISTINCT FROM record_part(c, 'transition')->>'to' THEN
        RETURN jsonb_build_object('moved', 'state');
    END IF;
    IF i->>'to' = 'settled' THEN
        v_main := EXISTS (SELECT FROM scope_states WHERE org_id = p_org AND livemode = y.livemode AND stopped
                          AND (scope, scope_id) IN (('org', p_org), ('project', y.project_id), ('agent', y.agent_id)));
        INSERT INTO transfers (org_id, id, kind, debit_id, debit_kind, credit_id, credit_kind, livemode, currency, amount, mandate_id, payment_id, entry_id)
        VALUES (p_org, unwire('tr', i->>'transfer'), 'refund', account_of(p_org, 'clearing', y.livemode, y.currency, y.rail, v_entry), 'clearing',
                CASE WHEN v_main THEN account_of(p_org, 'main', y.livemode, y.currency, NULL, v_entry) ELSE y.wallet_id END,
                CASE WHEN v_main THEN 'main' ELSE 'wallet' END, y.livemode, y.currency, r.amount, y.mandate_id, y.id, v_entry);
    END IF;
    v_done := record_append(p_org, p_content, p_sig, c, p_openings);
    INSERT INTO attempt_results (org_id, id, attempt_id, source, result, code, proof, provider_id, entry_id)
    VALUES (p_org, unwire('evt', i->>'event'), a.id, i->>'source', i->>'result', i->>'code', i->>'proof', i->>'provider_id', v_entry);
    UPDATE refunds SET status = coalesce(i->>'to', status), code = i->>'code', provider_id = coalesce(provider_id, i->>'provider_id'), checks = checks + 1,
        lease_owner = NULL, lease_until = NULL,
        due_at = CASE WHEN coalesce(i->>'to', status) IN ('submitted', 'uncertain') THEN next_check(checks) END,
        updated_at = clock_timestamp(), entry_id = v_entry WHERE org_id = p_org AND id = r.id;
    IF v_next IS NOT NULL OR i->>'to' IN ('settled', 'failed') THEN
        UPDATE payments SET refunding = refunding - CASE WHEN i->>'to' IN ('settled', 'failed') THEN r.amount ELSE 0 END,
            refunded = refunded + CASE i->>'to' WHEN 'settled' THEN r.amount ELSE 0 END, status = coalesce(v_next, status),
            code = CASE v_next WHEN 'needs_human' THEN i->>'code' ELSE code END, updated_at = clock_timestamp(), entry_id = v_entry
        WHERE org_id = p_org AND id = y.id;
    END IF;
    RETURN v_done;
END $$;
CALL definer('refund_result(uuid,bytea,bytea,jsonb)', '{codespar_rail}');

-- Notices from rails: stored raw by whoever listens, verified and used by whoever holds the secret.
CREATE FUNCTION webhook_store(p_org uuid, p_id uuid, p_rail text, p_livemode boolean, p_message text, p_headers jsonb, p_body bytea) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM enter(p_org);
    INSERT INTO webhook_messages (org_id, id, rail, livemode, message_id, headers, body)
    SELECT p_org, p_id, p_rail, p_livemode, p_message, p_headers, p_body
    FROM rail_accounts WHERE org_id = p_org AND rail = p_rail AND livemode = p_livemode
    ON CONFLICT DO NOTHING;
    RETURN EXISTS (SELECT FROM rail_accounts WHERE org_id = p_org AND rail = p_rail AND livemode = p_livemode);
END $$;
CALL definer('webhook_store(uuid,uuid,text,boolean,text,jsonb,bytea)', '{codespar_control}');

CREATE FUNCTION webhook_done(p_org uuid, p_id uuid, p_status text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM enter(p_org);
    UPDATE webhook_messages SET status = p_status WHERE org_id = p_org AND id = p_id AND status = 'received';
END $$;
CALL definer('webhook_done(uuid,uuid,text)', '{codespar_rail}');

CREATE FUNCTION webhooks_new(p_limit integer) RETURNS TABLE (org uuid, id uuid) LANGUAGE sql STABLE AS $$
    -- The newest first: what could not be read yet must not hold up what can be.
    SELECT org_id, w.id FROM webhook_messages w WHERE status = 'received' ORDER BY received_at DESC LIMIT p_limit
$$;
CREATE POLICY scanner ON webhook_messages FOR SELECT TO codespar_scanner USING (true);
GRANT SELECT (org_id, id, status, received_at) ON webhook_messages TO codespar_scanner;
CALL definer('webhooks_new(integer)', '{codespar_rail}', 'codespar_scanner');

GRANT EXECUTE ON FUNCTION rail_proves, payments_lock, hold_resolve, payments_cancel, send_block, must_return, next_check TO codespar_definer;
