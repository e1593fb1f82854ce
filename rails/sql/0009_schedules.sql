-- A scheduled payment is decided again when its time has come, by the rail's process: whoever asked for it is not there any more.

-- Which of them are due. Ids only, over all organisations; a lease that runs out makes one due again.
CREATE FUNCTION schedules_due(p_owner text, p_limit integer, p_lease_seconds integer) RETURNS TABLE (org uuid, payment uuid) LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_orgs uuid[];
    v_payments uuid[];
BEGIN
    SELECT array_agg(w.org_id), array_agg(w.id) INTO v_orgs, v_payments
    FROM (SELECT y.org_id, y.id FROM payments y
          WHERE y.status = 'scheduled' AND y.due_at <= v_now AND (y.lease_until IS NULL OR y.lease_until < v_now)
          ORDER BY y.due_at LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED) w;
    RETURN QUERY
        UPDATE payments y SET lease_owner = p_owner, lease_until = v_now + make_interval(secs => p_lease_seconds)
        FROM unnest(v_orgs, v_payments) w (org_id, id)
        WHERE y.org_id = w.org_id AND y.id = w.id
        RETURNING y.org_id, y.id;
END $$;
CALL definer('schedules_due(text,integer,integer)', '{codespar_rail}', 'codespar_scanner');

CREATE FUNCTION payment_asked(p_org uuid, y payments) RETURNS payment_facts LANGUAGE sql STABLE AS $$
    SELECT facts_of(p_org, y.agent_id, jsonb_build_object('mandate', wire('mnd', y.mandate_id), 'counterparty', wire('ctp', y.counterparty_id),
        'purpose', y.purpose, 'rail', y.rail, 'amount', y.amount, 'currency', y.currency))
$$;

-- What the decision on a scheduled payment reads, now.
CREATE FUNCTION schedule_seen(p_org uuid, p_payment uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    y payments;
BEGIN
    PERFORM enter(p_org);
    SELECT * INTO y FROM payments WHERE org_id = p_org AND id = p_payment AND status = 'scheduled';
    RETURN CASE WHEN y.id IS NOT NULL THEN facts_seen(p_org, y.agent_id, payment_asked(p_org, y), clock_timestamp()) END;
END $$;
CALL definer('schedule_seen(uuid,uuid)', '{codespar_rail}');

-- kind: payment.executed. Its decision says what becomes of the payment: allow holds the money, approval asks a person, deny ends it.
-- Who asked for what stands in the row since it was scheduled; from the record come the rail, the account and the wallet, which are checked.
CREATE FUNCTION schedule_execute(p_org uuid, p_content bytea, p_sig bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    y payments;
    f payment_facts;
    v_now timestamptz := clock_timestamp();
    v_outcome text;
    v_moved text;
    v_wallet uuid;
    v_hold uuid;
    v_decision uuid;
    v_entry uuid;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{payment.executed}');
    PERFORM system_actor(c);
    d := c #> '{data,payment}';
    v_entry := unwire('ent', c->>'id');
    v_outcome := record_part(c, 'decision')->>'outcome';
    SELECT * INTO y FROM payments WHERE org_id = p_org AND id = unwire('pay', d->>'id') AND livemode = (c->>'livemode')::boolean FOR NO KEY UPDATE;
    IF y.status IS DISTINCT FROM 'scheduled' OR v_now < y.execute_at OR v_now >= y.submit_by THEN
        RETURN jsonb_build_object('moved', 'state');
    END IF;
    f := payment_asked(p_org, y);
    f.rail := coalesce(y.rail, d->>'rail');
    SELECT id INTO v_wallet FROM accounts
    WHERE org_id = p_org AND kind = 'wallet' AND agent_id = y.agent_id AND livemode = y.livemode AND currency = y.currency;
    IF v_outcome = 'allow' THEN
        v_moved := payment_gate(f, v_wallet, (d->>'counterparty_version')::integer, d->>'account', v_now, (d->>'submit_by')::timestamptz, false);
        v_moved := coalesce(v_moved, consent_moved(f, d));
        IF v_moved IS NOT NULL THEN
            RETURN jsonb_build_object('moved', v_moved);
        END IF;
    ELSE
        PERFORM head_lock(p_org);
    END IF;
    v_decision := decision_add(p_org, c, f, y.id);
    IF v_outcome = 'allow' THEN
        v_hold := hold_add(p_org, c, f, y.id, v_wallet, v_now);
    END IF;
    UPDATE payments SET status = CASE v_outcome WHEN 'allow' THEN 'authorized' WHEN 'approval' THEN 'requires_approval' ELSE 'denied' END,
        code = record_part(c, 'decision')->>'code', hold_id = v_hold, decision_id = v_decision, rail = f.rail, wallet_id = v_wallet,
        consent_id = CASE v_outcome WHEN 'allow' THEN unwire('cns', d->>'consent') END,
        account_id = coalesce(account_id, d->>'account'), counterparty_version = (d->>'counterparty_version')::integer,
        submit_by = CASE v_outcome WHEN 'deny' THEN submit_by ELSE (d->>'submit_by')::timestamptz END,
        due_at = CASE v_outcome WHEN 'allow' THEN v_now WHEN 'approval' THEN v_now + interval '24 hours' END,
        lease_owner = NULL, lease_until = NULL, updated_at = v_now, entry_id = v_entry
    WHERE org_id = p_org AND id = y.id;
    IF v_outcome = 'approval' THEN
        INSERT INTO approvals (org_id, id, payment_id, requested_at, expires_at, entry_id)
        VALUES (p_org, unwire('apr', record_part(c, 'approval_request')->>'id'), y.id, v_now, v_now + interval '24 hours', v_entry);
    END IF;
    RETURN record_append(p_org, p_content, p_sig, c);
END $$;
CALL definer('schedule_execute(uuid,bytea,bytea)', '{codespar_rail}');
GRANT EXECUTE ON FUNCTION payment_asked TO codespar_definer;
