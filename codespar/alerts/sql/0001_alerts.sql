-- What needs a person is told outside. The ledger is the outbox: what is told is read from its entries, and nothing is written beside them.

-- Kinds of records that may tell something.
CREATE FUNCTION event_kinds() RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT '{reconciliation.flagged,reconciliation.lagging,reconciliation.caught_up,rail.breaker_changed,rail_account.checked,scope.stopped,scope.lifted,
             scope.revoked,mandate.revoked,webhook_endpoint.disabled,webhook_endpoint.tested,refund.resulted,payment.denied,payment.approval_requested,
             payment.executed,payment.rejected,payment.canceled,payment.expired,payments.resulted,payment.handed_over,payment.ruling_confirmed,
             payment.settled_late}'::text[]
$$;

-- What a record tells, in order: ids and words of ours, never a text of somebody's. It reads any shape: a forged record stops nobody's alerts.
CREATE FUNCTION events_of(p_kind text, c jsonb) RETURNS TABLE (n integer, type text, data jsonb) LANGUAGE sql IMMUTABLE AS $$
    SELECT (row_number() OVER (ORDER BY t.place))::integer - 1, t.type, t.data FROM (
        SELECT 0::bigint AS place,
            CASE p_kind WHEN 'rail_account.checked' THEN CASE c #> '{data,ready}' WHEN 'true' THEN 'rail_account.ready' ELSE 'rail_account.not_ready' END
                 WHEN 'refund.resulted' THEN 'refund.' || (c #>> '{data,refund,to}') ELSE p_kind END AS type,
            CASE WHEN p_kind = 'reconciliation.flagged' THEN jsonb_build_object('reconciliation', c #> '{data,run}', 'rail', c #> '{data,rail}',
                     'discrepancies', jsonb_path_query_array(c, '$.data.items[*].id'))
                 WHEN p_kind IN ('reconciliation.lagging', 'reconciliation.caught_up', 'rail_account.checked')
                     THEN jsonb_build_object('rail_account', c #> '{data,id}', 'rail', c #> '{data,rail}')
                 WHEN p_kind = 'rail.breaker_changed' THEN jsonb_build_object('breaker_change', c #> '{data,id}', 'rail', c #> '{data,rail}',
                     'operation', c #> '{data,operation}', 'state', c #> '{data,to}')
                 WHEN p_kind IN ('scope.stopped', 'scope.lifted')
                     THEN jsonb_build_object('stop', c #> '{data,stop}', 'scope', c #> '{data,scope}', 'target', c #> '{data,target}')
                 WHEN p_kind IN ('scope.revoked', 'mandate.revoked')
                     THEN jsonb_build_object('revocation', c #> '{data,revocation}', 'scope', c #> '{data,scope}', 'target', c #> '{data,target}')
                 WHEN p_kind LIKE 'webhook\_endpoint.%' THEN jsonb_build_object('webhook_endpoint', c #> '{data,id}')
                 WHEN p_kind = 'refund.resulted' AND c #>> '{data,refund,to}' IN ('settled', 'failed', 'needs_human')
                     THEN jsonb_build_object('refund', c #> '{data,refund,id}', 'payment', c #> '{data,refund,payment}') END AS data
        UNION ALL
        SELECT x.place, 'payment.' || (x.part->>'to'), jsonb_build_object('payment', x.part->>'subject')
        FROM jsonb_array_elements(c->'parts') WITH ORDINALITY x (part, place)
        WHERE x.part->>'part' = 'transition' AND x.part->>'subject' ~ '^pay_[0-9a-f]{32}$'
          AND x.part->>'to' IN ('requires_approval', 'denied', 'settled', 'failed', 'canceled', 'expired', 'needs_human', 'reversed', 'written_off')
          -- A payment that was to come back and did not is as settled as it was.
          AND (x.part->>'from' = 'reversing' AND x.part->>'to' = 'settled') IS NOT TRUE
    ) t WHERE t.type IS NOT NULL AND t.data IS NOT NULL
$$;

-- An event's id is its entry's, with its place in the record folded into the last two bytes: the same whoever reads it, and however often.
CREATE FUNCTION event_id(p_entry uuid, p_n integer) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT encode(set_byte(set_byte(b, 14, get_byte(b, 14) # (p_n >> 8)), 15, get_byte(b, 15) # (p_n & 255)), 'hex')::uuid FROM uuid_send(p_entry) b
$$;

-- The events of one mode in a stretch of a chain.
CREATE FUNCTION events_between(p_org uuid, p_livemode boolean, p_after bigint, p_until bigint)
RETURNS TABLE (seq bigint, n integer, id uuid, entry_id uuid, type text, at timestamptz, data jsonb) LANGUAGE sql STABLE AS $$
    SELECT e.seq, v.n, event_id(e.id, v.n), e.id, v.type, e.at, v.data
    FROM ledger_entries e CROSS JOIN LATERAL (SELECT convert_from(e.content, 'UTF8')::jsonb AS c) r CROSS JOIN LATERAL events_of(e.kind, r.c) v
    WHERE e.org_id = p_org AND e.seq > p_after AND e.seq <= p_until AND e.kind = ANY (event_kinds()) AND (r.c->>'livemode')::boolean = p_livemode
$$;

-- Where an organisation wants to be told, and of what.
CREATE TABLE webhook_endpoints (
    org_id uuid NOT NULL REFERENCES organisations,
    id uuid NOT NULL,
    livemode boolean NOT NULL,
    url text NOT NULL,
    types text[] NOT NULL,
    -- `gone`: it answered that it is (410). What happens while it is disabled waits for it.
    status text NOT NULL DEFAULT 'enabled',
    -- The chain has been read for it as far as this.
    cursor bigint NOT NULL,
    -- When its next delivery is due; null when none waits.
    due_at timestamptz,
    looked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_owner text,
    lease_until timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT webhook_endpoints_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT webhook_endpoints_url CHECK (url ~ '^(https://|http://(localhost|127\.0\.0\.1|\[::1\])[:/])[!-~]+$' AND length(url) <= 2000),
    CONSTRAINT webhook_endpoints_status CHECK (status IN ('enabled', 'disabled', 'gone', 'deleted')),
    CONSTRAINT webhook_endpoints_types CHECK (cardinality(types) > 0 AND types <@ '{payment.canceled,payment.denied,payment.expired,payment.failed,
        payment.needs_human,payment.requires_approval,payment.reversed,payment.settled,payment.written_off,rail.breaker_changed,rail_account.not_ready,rail_account.ready,
        reconciliation.caught_up,reconciliation.flagged,reconciliation.lagging,refund.failed,refund.needs_human,refund.settled,
        scope.lifted,scope.revoked,scope.stopped,mandate.revoked,webhook_endpoint.disabled}'::text[])
);
CREATE INDEX webhook_endpoints_looked ON webhook_endpoints (looked_at) WHERE status = 'enabled';
CALL tenant_table('webhook_endpoints', '{codespar_control,codespar_rail,codespar_auditor}');
CALL kept('webhook_endpoints');

-- What deliveries are signed with. While a secret gives way to the next one, both sign.
CREATE TABLE webhook_secrets (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ends_at timestamptz,
    CONSTRAINT webhook_secrets_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT webhook_secrets_of FOREIGN KEY (org_id, endpoint_id) REFERENCES webhook_endpoints
);
CREATE UNIQUE INDEX webhook_secrets_current ON webhook_secrets (org_id, endpoint_id) WHERE ends_at IS NULL;
CALL tenant_table('webhook_secrets', '{codespar_rail}');
GRANT SELECT (org_id, id, endpoint_id, created_at, ends_at) ON webhook_secrets TO codespar_control, codespar_auditor;

-- One event for one endpoint, told until it is heard or given up. `id` is the event's, and what the receiver knows it by.
CREATE TABLE webhook_deliveries (
    org_id uuid NOT NULL,
    endpoint_id uuid NOT NULL,
    id uuid NOT NULL,
    seq bigint NOT NULL,
    n integer NOT NULL,
    type text NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamptz DEFAULT clock_timestamp(),
    -- What came of the last attempt: the answer's status, or why there was none.
    answer integer,
    failure text,
    tried_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (org_id, endpoint_id, id),
    CONSTRAINT webhook_deliveries_of FOREIGN KEY (org_id, endpoint_id) REFERENCES webhook_endpoints,
    CONSTRAINT webhook_deliveries_entry FOREIGN KEY (org_id, seq) REFERENCES ledger_entries (org_id, seq),
    CONSTRAINT webhook_deliveries_status CHECK (status IN ('pending', 'delivered', 'failed')),
    CONSTRAINT webhook_deliveries_next CHECK ((status = 'pending') = (next_at IS NOT NULL)),
    CONSTRAINT webhook_deliveries_heard CHECK (status <> 'delivered' OR answer BETWEEN 200 AND 299)
);
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (org_id, endpoint_id, next_at) WHERE status = 'pending';
CALL tenant_table('webhook_deliveries', '{codespar_control,codespar_rail,codespar_auditor}');
GRANT DELETE ON webhook_deliveries TO codespar_definer;

-- kind: webhook_endpoint.created. It is told of what comes after this record. The secret arrives sealed, and only the rail's role reads it back.
CREATE FUNCTION webhook_endpoint_create(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb, p_sealed bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    p principal;
    h ledger_heads;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{webhook_endpoint.created}');
    p := caller(p_org, p_digest, 'webhooks:write', c);
    d := c->'data';
    h := head_lock(p_org);
    IF (SELECT count(*) FROM webhook_endpoints WHERE org_id = p_org AND livemode = p.livemode AND status <> 'deleted') >= 16 THEN
        PERFORM refuse('webhook_endpoints_most', 'an organisation has sixteen endpoints in each mode at most');
    END IF;
    INSERT INTO webhook_endpoints (org_id, id, livemode, url, types, cursor, entry_id)
    VALUES (p_org, unwire('whe', d->>'id'), p.livemode, opened(p_openings, d->>'url_commit'), texts(d->'types'), h.seq + 1, unwire('ent', c->>'id'));
    INSERT INTO webhook_secrets (org_id, id, endpoint_id, sealed) VALUES (p_org, unwire('key', d->>'secret'), unwire('whe', d->>'id'), p_sealed);
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('webhook_endpoint_create(uuid,bytea,bytea,bytea,jsonb,bytea)', '{codespar_control}');

-- kinds: webhook_endpoint.updated, .deleted, .replayed, .tested. The record has everything that the endpoint is from then on.
CREATE FUNCTION webhook_endpoint_change(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    p principal;
    h ledger_heads;
    w webhook_endpoints;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{webhook_endpoint.updated,webhook_endpoint.deleted,webhook_endpoint.replayed,webhook_endpoint.tested}');
    p := caller(p_org, p_digest, 'webhooks:write', c);
    d := c->'data';
    SELECT * INTO w FROM webhook_endpoints WHERE org_id = p_org AND id = unwire('whe', d->>'id') AND livemode = p.livemode AND status <> 'deleted' FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse('webhook_endpoints_known', 'there is no such endpoint in this mode');
    END IF;
    h := head_lock(p_org);
    IF c->>'kind' = 'webhook_endpoint.updated' AND d->>'from_entry' IS DISTINCT FROM wire('ent', w.entry_id) THEN
        PERFORM refuse('webhook_endpoints_moved', 'the endpoint has changed since it was read');
    ELSIF c->>'kind' = 'webhook_endpoint.updated' THEN
        w.url := opened(p_openings, d->>'url_commit');
        w.types := texts(d->'types');
        w.status := CASE WHEN (d->>'disabled')::boolean THEN 'disabled' ELSE 'enabled' END;
    ELSIF c->>'kind' = 'webhook_endpoint.deleted' THEN
        w.status := 'deleted';
    ELSIF (d->>'after_seq')::bigint NOT BETWEEN 0 AND h.seq THEN
        PERFORM refuse('webhook_endpoints_replay', 'the chain has no such place to begin again from');
    ELSIF c->>'kind' = 'webhook_endpoint.replayed' THEN
        w.cursor := least(w.cursor, (d->>'after_seq')::bigint);
    END IF;
    UPDATE webhook_endpoints SET url = w.url, types = w.types, status = w.status, cursor = w.cursor, entry_id = unwire('ent', c->>'id')
    WHERE org_id = p_org AND id = w.id;
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('webhook_endpoint_change(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

-- kind: webhook_endpoint.rotated. The secrets of before sign until `overlap_until`, and never longer than they would have.
CREATE FUNCTION webhook_endpoint_rotate(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb, p_sealed bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    p principal;
    v_id uuid;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{webhook_endpoint.rotated}');
    p := caller(p_org, p_digest, 'webhooks:write', c);
    d := c->'data';
    UPDATE webhook_endpoints SET entry_id = unwire('ent', c->>'id')
    WHERE org_id = p_org AND id = unwire('whe', d->>'id') AND livemode = p.livemode AND status <> 'deleted' RETURNING id INTO v_id;
    IF NOT FOUND THEN
        PERFORM refuse('webhook_endpoints_known', 'there is no such endpoint in this mode');
    END IF;
    UPDATE webhook_secrets SET ends_at = least(ends_at, (d->>'overlap_until')::timestamptz) WHERE org_id = p_org AND endpoint_id = v_id;
    INSERT INTO webhook_secrets (org_id, id, endpoint_id, sealed) VALUES (p_org, unwire('key', d->>'secret'), v_id, p_sealed);
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('webhook_endpoint_rotate(uuid,bytea,bytea,bytea,jsonb,bytea)', '{codespar_control}');

-- kind: webhook_endpoint.disabled. Whoever listened there has said that nobody does any more.
CREATE FUNCTION webhook_endpoint_gone(p_org uuid, p_content bytea, p_sig bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{webhook_endpoint.disabled}');
    PERFORM system_actor(c);
    UPDATE webhook_endpoints SET status = 'gone', entry_id = unwire('ent', c->>'id')
    WHERE org_id = p_org AND id = unwire('whe', c #>> '{data,id}') AND livemode = (c->>'livemode')::boolean AND status = 'enabled';
    IF NOT FOUND THEN
        RETURN jsonb_build_object('moved', 'state');
    END IF;
    RETURN record_append(p_org, p_content, p_sig, c);
END $$;
CALL definer('webhook_endpoint_gone(uuid,bytea,bytea)', '{codespar_rail}');

-- The newest events before a place (p_seq, p_n), at most so many, out of at most so many entries: {events, next}, `next` being where to go on,
-- null at the beginning of the chain. Without a place, from the chain's end.
CREATE FUNCTION events_list(p_org uuid, p_digest bytea, p_types text[], p_seq bigint, p_n integer, p_limit integer, p_entries integer) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    p principal;
    v_seq bigint;
    v_from bigint;
    v_found jsonb;
    v_last jsonb;
BEGIN
    PERFORM enter(p_org);
    p := holder(p_org, p_digest, 'events:read');
    v_seq := coalesce(p_seq, (SELECT seq FROM ledger_heads WHERE org_id = p_org) + 1);
    v_from := greatest(v_seq - p_entries, 0);
    SELECT coalesce(jsonb_agg(to_jsonb(e) || jsonb_build_object('at', utc(e.at)) ORDER BY e.seq DESC, e.n DESC), '[]') INTO v_found FROM (
        SELECT * FROM events_between(p_org, p.livemode, v_from, v_seq) b
        WHERE (b.seq, b.n) < (v_seq, coalesce(p_n, 0)) AND b.type = ANY (p_types) ORDER BY b.seq DESC, b.n DESC LIMIT p_limit + 1) e;
    IF jsonb_array_length(v_found) > p_limit THEN
        v_found := v_found - p_limit;
        v_last := v_found -> (p_limit - 1);
        RETURN jsonb_build_object('events', v_found, 'next', jsonb_build_array(v_last->'seq', v_last->'n'));
    END IF;
    RETURN jsonb_build_object('events', v_found, 'next', CASE WHEN v_from > 0 THEN jsonb_build_array(v_from + 1, 0) END);
END $$;
CALL definer('events_list(uuid,bytea,text[],bigint,integer,integer,integer)', '{codespar_control}');

-- Which endpoints have something to be told of, each leased to one process. Ids only, over all organisations; whoever waited longest comes first.
CREATE FUNCTION webhooks_due(p_owner text, p_limit integer, p_lease_seconds integer) RETURNS TABLE (org uuid, endpoint uuid) LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_orgs uuid[];
    v_endpoints uuid[];
BEGIN
    SELECT array_agg(w.org_id), array_agg(w.id) INTO v_orgs, v_endpoints
    FROM (SELECT e.org_id, e.id FROM webhook_endpoints e JOIN ledger_heads h ON h.org_id = e.org_id
          WHERE e.status = 'enabled' AND (e.lease_until IS NULL OR e.lease_until < v_now) AND (e.due_at <= v_now OR e.cursor < h.seq)
          ORDER BY e.looked_at LIMIT p_limit FOR NO KEY UPDATE OF e SKIP LOCKED) w;
    RETURN QUERY
        UPDATE webhook_endpoints e SET lease_owner = p_owner, lease_until = v_now + make_interval(secs => p_lease_seconds), looked_at = v_now
        FROM unnest(v_orgs, v_endpoints) w (org_id, endpoint)
        WHERE e.org_id = w.org_id AND e.id = w.endpoint
        RETURNING e.org_id, e.id;
END $$;
CREATE POLICY scanner ON webhook_endpoints TO codespar_scanner USING (true);
GRANT SELECT (org_id, id, status, cursor, due_at, looked_at, lease_until), UPDATE (lease_owner, lease_until, looked_at) ON webhook_endpoints TO codespar_scanner;
CALL definer('webhooks_due(text,integer,integer)', '{codespar_rail}', 'codespar_scanner');

-- The smallest id of an event that was recorded then.
CREATE FUNCTION event_floor(p_at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT encode(substring(int8send(floor(extract(epoch FROM p_at) * 1000)::bigint) FROM 3) || decode(repeat('00', 10), 'hex'), 'hex')::uuid
$$;

-- When an endpoint's next delivery is due.
CREATE FUNCTION webhook_next(p_org uuid, p_endpoint uuid) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT min(next_at) FROM webhook_deliveries WHERE org_id = p_org AND endpoint_id = p_endpoint AND status = 'pending'
$$;

-- Read the chain on for an endpoint, at most so many entries, and give at most so many deliveries that are due: [{id, type, at, data, attempts}].
-- What was told before is told again where a person has asked for it, under the same id.
CREATE FUNCTION webhook_work(p_org uuid, p_endpoint uuid, p_entries integer, p_limit integer) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    w webhook_endpoints;
    v_until bigint;
BEGIN
    PERFORM enter(p_org);
    SELECT * INTO w FROM webhook_endpoints WHERE org_id = p_org AND id = p_endpoint AND status = 'enabled' FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN '[]';
    END IF;
    SELECT least(seq, w.cursor + p_entries) INTO v_until FROM ledger_heads WHERE org_id = p_org;
    INSERT INTO webhook_deliveries AS d (org_id, endpoint_id, id, seq, n, type)
    SELECT p_org, p_endpoint, e.id, e.seq, e.n, e.type FROM events_between(p_org, w.livemode, w.cursor, v_until) e
    WHERE e.type = ANY (w.types) OR (e.type = 'webhook_endpoint.tested' AND e.data->>'webhook_endpoint' = wire('whe', p_endpoint))
    ON CONFLICT ON CONSTRAINT webhook_deliveries_pkey DO UPDATE SET status = 'pending', attempts = 0, next_at = clock_timestamp();
    -- Due from here on: whoever takes the lease over from a dead process must find what it was about to send.
    UPDATE webhook_endpoints SET cursor = v_until, due_at = webhook_next(p_org, p_endpoint) WHERE org_id = p_org AND id = p_endpoint;
    -- What is over is forgotten after a month: the ledger has it, and a replay brings it back. An id begins with its milliseconds (UUIDv7).
    DELETE FROM webhook_deliveries WHERE org_id = p_org AND endpoint_id = p_endpoint AND id IN (
        SELECT d.id FROM webhook_deliveries d WHERE d.org_id = p_org AND d.endpoint_id = p_endpoint AND d.status <> 'pending'
          AND d.created_at < clock_timestamp() - interval '30 days' AND d.id < event_floor(clock_timestamp() - interval '30 days')
        ORDER BY d.id LIMIT 1000);
    RETURN (SELECT coalesce(jsonb_agg(jsonb_build_object('id', x.id, 'type', x.type, 'at', utc(e.at), 'data', e.data, 'attempts', x.attempts) ORDER BY x.next_at, x.id), '[]')
        FROM (SELECT * FROM webhook_deliveries d WHERE d.org_id = p_org AND d.endpoint_id = p_endpoint AND d.status = 'pending' AND d.next_at <= clock_timestamp()
              ORDER BY d.next_at, d.id LIMIT p_limit) x
        CROSS JOIN LATERAL events_between(p_org, w.livemode, x.seq - 1, x.seq) e WHERE e.n = x.n);
END $$;
CALL definer('webhook_work(uuid,uuid,integer,integer)', '{codespar_rail}');

-- What came of one attempt. An endpoint that did not hear is left alone for a while, at most a minute, with everything else that waits for it.
CREATE FUNCTION webhook_tried(p_org uuid, p_endpoint uuid, p_id uuid, p_answer integer, p_failure text, p_again_seconds integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_heard boolean := coalesce(p_answer BETWEEN 200 AND 299, false);
BEGIN
    PERFORM enter(p_org);
    UPDATE webhook_deliveries SET attempts = attempts + 1, tried_at = v_now, answer = p_answer, failure = p_failure,
        status = CASE WHEN v_heard THEN 'delivered' WHEN p_again_seconds IS NULL THEN 'failed' ELSE 'pending' END,
        next_at = CASE WHEN NOT v_heard THEN v_now + make_interval(secs => p_again_seconds) END
    WHERE org_id = p_org AND endpoint_id = p_endpoint AND id = p_id AND status = 'pending';
    IF NOT v_heard THEN
        UPDATE webhook_deliveries SET next_at = greatest(next_at, v_now + make_interval(secs => least(coalesce(p_again_seconds, 60), 60)))
        WHERE org_id = p_org AND endpoint_id = p_endpoint AND status = 'pending';
    END IF;
END $$;
CALL definer('webhook_tried(uuid,uuid,uuid,integer,text,integer)', '{codespar_rail}');

CREATE FUNCTION webhook_release(p_org uuid, p_endpoint uuid, p_owner text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM enter(p_org);
    UPDATE webhook_endpoints SET lease_owner = NULL, lease_until = NULL, due_at = webhook_next(p_org, p_endpoint)
    WHERE org_id = p_org AND id = p_endpoint AND lease_owner = p_owner;
END $$;
CALL definer('webhook_release(uuid,uuid,text)', '{codespar_rail}');

GRANT EXECUTE ON FUNCTION event_kinds, events_of, event_id, events_between, event_floor, webhook_next TO codespar_definer;
