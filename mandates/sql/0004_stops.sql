-- Stop and revoke. A stop is a flag that another person lifts; a revocation is for ever. Each is one row, whatever it covers.

-- scope_id is NULL for what reaches every organisation: the platform, and a rail stopped by the platform's own people.
CREATE TABLE stops (
    org_id uuid NOT NULL REFERENCES organisations,
    id uuid NOT NULL,
    livemode boolean NOT NULL,
    scope text NOT NULL,
    scope_id uuid,
    target text NOT NULL,
    initiator text NOT NULL,
    reason_commit text NOT NULL,
    receipt text,
    at timestamptz NOT NULL,
    entry_id uuid NOT NULL,
    CONSTRAINT stops_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT stops_initiator UNIQUE (org_id, id, initiator),
    CONSTRAINT stops_scope CHECK (scope IN ('mandate', 'agent', 'project', 'org', 'counterparty', 'rail', 'platform')),
    CONSTRAINT stops_everybody CHECK (CASE scope WHEN 'platform' THEN scope_id IS NULL WHEN 'rail' THEN true ELSE scope_id IS NOT NULL END)
);
CREATE INDEX stops_at ON stops (at);
CREATE INDEX stops_of ON stops (org_id, scope, scope_id);
CALL tenant_table('stops', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('stops');

CREATE TABLE stop_lifts (
    org_id uuid NOT NULL,
    stop_id uuid NOT NULL,
    initiator text NOT NULL,
    lifted_by text NOT NULL,
    reason_commit text NOT NULL,
    at timestamptz NOT NULL,
    entry_id uuid NOT NULL,
    CONSTRAINT stop_lifts_pkey PRIMARY KEY (org_id, stop_id),
    CONSTRAINT stop_lifts_of FOREIGN KEY (org_id, stop_id, initiator) REFERENCES stops (org_id, id, initiator),
    CONSTRAINT stop_lifts_another_person CHECK (lifted_by <> initiator)
);
CALL tenant_table('stop_lifts', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('stop_lifts');

CREATE TABLE revocations (
    org_id uuid NOT NULL REFERENCES organisations,
    id uuid NOT NULL,
    livemode boolean NOT NULL,
    scope text NOT NULL,
    scope_id uuid,
    target text NOT NULL,
    initiator text NOT NULL,
    reason_commit text NOT NULL,
    receipt text NOT NULL,
    at timestamptz NOT NULL,
    entry_id uuid NOT NULL,
    CONSTRAINT revocations_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT revocations_scope CHECK (scope IN ('mandate', 'agent', 'project', 'org', 'platform')),
    CONSTRAINT revocations_everybody CHECK ((scope = 'platform') = (scope_id IS NULL))
);
CREATE INDEX revocations_at ON revocations (at);
CREATE INDEX revocations_of ON revocations (org_id, scope, scope_id);
CALL tenant_table('revocations', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('revocations');

-- The row that a scope and a name mean in one mode of an organisation; NULL when there is none.
CREATE FUNCTION scope_row(p_org uuid, p_livemode boolean, p_scope text, p_target text) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT CASE p_scope
        WHEN 'org' THEN (SELECT p_org WHERE p_target = wire('org', p_org))
        WHEN 'project' THEN (SELECT id FROM projects WHERE org_id = p_org AND id = unwire('prj', p_target) AND livemode = p_livemode)
        WHEN 'agent' THEN (SELECT id FROM agents WHERE org_id = p_org AND id = unwire('agt', p_target) AND livemode = p_livemode)
        WHEN 'mandate' THEN (SELECT id FROM mandates WHERE org_id = p_org AND id = unwire('mnd', p_target) AND livemode = p_livemode)
        WHEN 'counterparty' THEN (SELECT id FROM counterparties WHERE org_id = p_org AND id = unwire('ctp', p_target) AND livemode = p_livemode)
        WHEN 'rail' THEN (SELECT id FROM rail_accounts WHERE org_id = p_org AND rail = p_target AND livemode = p_livemode) END
$$;

-- What a caller means by a scope and a name, in the caller's mode. NULL is everybody's.
CREATE FUNCTION scope_target(p_org uuid, p_livemode boolean, p_scope text, p_target text) RETURNS uuid LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_platform boolean := coalesce(p_org = (SELECT platform_org FROM deployment), false);
    v_id uuid;
BEGIN
    IF p_scope = 'platform' OR (p_scope = 'rail' AND v_platform) THEN
        IF NOT v_platform OR NOT p_livemode THEN
            PERFORM refuse('stops_platform', 'what reaches every organisation takes a live token of the platform''s own organisation');
        ELSIF NOT EXISTS (SELECT FROM platform_states WHERE scope = p_scope AND name = p_target) THEN
            PERFORM refuse('scopes_known', 'there is no such rail');
        END IF;
        RETURN NULL;
    END IF;
    v_id := scope_row(p_org, p_livemode, p_scope, p_target);
    IF v_id IS NULL THEN
        PERFORM refuse('scopes_known', 'there is no such thing to stop or revoke in this mode');
    END IF;
    RETURN v_id;
END $$;

CREATE FUNCTION receipt_check(d jsonb, p_openings jsonb, p_receipt text) RETURNS void LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF encode(sha256(convert_to(p_receipt, 'UTF8')), 'hex') IS DISTINCT FROM d->>'receipt_sha256'
       OR coalesce(opened(p_openings, d->>'reason_commit'), '') = '' THEN
        PERFORM refuse('record_shape', 'a stop or a revocation carries its receipt and a reason');
    END IF;
END $$;

CREATE FUNCTION stop_flag_set(p_org uuid, p_livemode boolean, p_scope text, p_target text, p_id uuid, p_receipt text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_id IS NULL THEN
        UPDATE platform_states SET stopped = true, stop_receipt = coalesce(p_receipt, stop_receipt) WHERE scope = p_scope AND name = p_target;
    ELSE
        INSERT INTO scope_states (org_id, livemode, scope, scope_id, stopped) VALUES (p_org, p_livemode, p_scope, p_id, true)
        ON CONFLICT (org_id, scope, scope_id, livemode) DO UPDATE SET stopped = true;
    END IF;
END $$;

-- The head is locked before the flag is set: whatever has a smaller seq was held before, and nothing after it is. A stop that reaches
-- every organisation has no head to lock: its caller waits until no transaction from before it is left (see mandates/actions/stops.py).
CREATE FUNCTION stop_set(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb, p_receipt text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    p principal;
    v_id uuid;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{scope.stopped}');
    PERFORM head_lock(p_org);
    p := caller(p_org, p_digest, 'stops:write', c);
    d := c->'data';
    v_id := scope_target(p_org, p.livemode, d->>'scope', d->>'target');
    PERFORM receipt_check(d, p_openings, p_receipt);
    PERFORM stop_flag_set(p_org, p.livemode, d->>'scope', d->>'target', v_id, p_receipt);
    INSERT INTO stops (org_id, id, livemode, scope, scope_id, target, initiator, reason_commit, receipt, at, entry_id)
    VALUES (p_org, unwire('stp', d->>'stop'), p.livemode, d->>'scope', v_id, d->>'target', p.actor, d->>'reason_commit', p_receipt,
            (c->>'at')::timestamptz, unwire('ent', c->>'id'));
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('stop_set(uuid,bytea,bytea,bytea,jsonb,text)', '{codespar_control}');

-- The flag alone, when nothing can be signed: a stop does not wait for a key store. Its record follows (stop_record).
CREATE FUNCTION stop_flag(p_org uuid, p_digest bytea, p_scope text, p_target text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    p principal;
BEGIN
    PERFORM enter(p_org);
    PERFORM head_lock(p_org);
    p := holder(p_org, p_digest, 'stops:write');
    PERFORM stop_flag_set(p_org, p.livemode, p_scope, p_target, scope_target(p_org, p.livemode, p_scope, p_target), NULL);
END $$;
CALL definer('stop_flag(uuid,bytea,text,text)', '{codespar_control}');

-- One stop ends by another person's word. The flag is down when no other stop of the same scope is left.
CREATE FUNCTION stop_lift(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
    s stops;
    o stops;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{scope.lifted}');
    PERFORM head_lock(p_org);
    p := caller(p_org, p_digest, 'stops:lift', c);
    SELECT * INTO s FROM stops WHERE org_id = p_org AND id = unwire('stp', c #>> '{data,stop}') AND livemode = p.livemode;
    IF s.id IS NULL THEN
        PERFORM refuse('stops_known', 'there is no such stop in this mode');
    END IF;
    IF coalesce(opened(p_openings, c #>> '{data,reason_commit}'), '') = '' OR (c #>> '{data,scope}', c #>> '{data,target}') IS DISTINCT FROM (s.scope, s.target) THEN
        PERFORM refuse('record_shape', 'a stop is lifted for a reason, and the record names what it stopped');
    END IF;
    INSERT INTO stop_lifts (org_id, stop_id, initiator, lifted_by, reason_commit, at, entry_id)
    VALUES (p_org, s.id, s.initiator, p.actor, c #>> '{data,reason_commit}', (c->>'at')::timestamptz, unwire('ent', c->>'id'));
    SELECT * INTO o FROM stops x WHERE x.org_id = p_org AND x.livemode = s.livemode AND x.scope = s.scope AND x.target = s.target
        AND x.scope_id IS NOT DISTINCT FROM s.scope_id AND NOT EXISTS (SELECT FROM stop_lifts l WHERE l.org_id = p_org AND l.stop_id = x.id)
        ORDER BY x.at DESC LIMIT 1;
    IF s.scope_id IS NULL THEN
        UPDATE platform_states SET stopped = o.id IS NOT NULL, stop_receipt = o.receipt WHERE scope = s.scope AND name = s.target;
    ELSE
        UPDATE scope_states SET stopped = o.id IS NOT NULL
        WHERE org_id = p_org AND livemode = s.livemode AND scope = s.scope AND scope_id = s.scope_id;
    END IF;
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('stop_lift(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

-- Permanent: the epoch that every mandate below was signed under is over.
CREATE FUNCTION revoke(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb, p_receipt text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    p principal;
    v_id uuid;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{mandate.revoked,scope.revoked}');
    PERFORM head_lock(p_org);
    p := caller(p_org, p_digest, 'mandates:revoke', c);
    d := c->'data';
    IF (d->>'scope' = 'mandate') IS DISTINCT FROM (c->>'kind' = 'mandate.revoked') THEN
        PERFORM refuse('record_shape', 'the record''s kind is not that of its scope');
    END IF;
    v_id := scope_target(p_org, p.livemode, d->>'scope', d->>'target');
    PERFORM receipt_check(d, p_openings, p_receipt);
    IF v_id IS NULL THEN
        UPDATE platform_states SET epoch = epoch + 1, revocation_receipt = p_receipt WHERE scope = d->>'scope' AND name = d->>'target';
    ELSE
        INSERT INTO scope_states AS s (org_id, livemode, scope, scope_id, epoch) VALUES (p_org, p.livemode, d->>'scope', v_id, 1)
        ON CONFLICT (org_id, scope, scope_id, livemode) DO UPDATE SET epoch = s.epoch + 1 WHERE s.scope <> 'mandate' OR s.epoch = 0;
        IF NOT FOUND THEN
            PERFORM refuse('mandates_live', 'the mandate is already revoked');
        END IF;
    END IF;
    INSERT INTO revocations (org_id, id, livemode, scope, scope_id, target, initiator, reason_commit, receipt, at, entry_id)
    VALUES (p_org, unwire('rev', d->>'revocation'), p.livemode, d->>'scope', v_id, d->>'target', p.actor, d->>'reason_commit', p_receipt,
            (c->>'at')::timestamptz, unwire('ent', c->>'id'));
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('revoke(uuid,bytea,bytea,bytea,jsonb,text)', '{codespar_control}');

-- Flags that were set without a record: by a stop that could not be signed, or by hand. Ids only, over all organisations.
CREATE FUNCTION stops_unrecorded() RETURNS TABLE (org uuid, livemode boolean, scope text, scope_id uuid, name text) LANGUAGE sql STABLE AS $$
    SELECT t.org_id, t.livemode, t.scope, t.scope_id, NULL FROM scope_states t
    WHERE t.stopped AND NOT EXISTS (
        SELECT FROM stops s WHERE s.org_id = t.org_id AND s.livemode = t.livemode AND s.scope = t.scope AND s.scope_id = t.scope_id
          AND NOT EXISTS (SELECT FROM stop_lifts l WHERE l.org_id = s.org_id AND l.stop_id = s.id))
    UNION ALL
    SELECT d.platform_org, true, t.scope, NULL, t.name FROM platform_states t CROSS JOIN deployment d
    WHERE t.stopped AND d.platform_org IS NOT NULL AND NOT EXISTS (
        SELECT FROM stops s WHERE s.org_id = d.platform_org AND s.scope = t.scope AND s.target = t.name AND s.scope_id IS NULL
          AND NOT EXISTS (SELECT FROM stop_lifts l WHERE l.org_id = s.org_id AND l.stop_id = s.id))
$$;
CREATE POLICY scanner ON scope_states FOR SELECT TO codespar_scanner USING (true);
CREATE POLICY scanner ON stops FOR SELECT TO codespar_scanner USING (true);
CREATE POLICY scanner ON stop_lifts FOR SELECT TO codespar_scanner USING (true);
GRANT SELECT (org_id, livemode, scope, scope_id, stopped) ON scope_states TO codespar_scanner;
GRANT SELECT (org_id, id, livemode, scope, scope_id, target) ON stops TO codespar_scanner;
GRANT SELECT (org_id, stop_id) ON stop_lifts TO codespar_scanner;
GRANT SELECT ON platform_states, deployment TO codespar_scanner;
CALL definer('stops_unrecorded()', '{codespar_rail}', 'codespar_scanner');

CREATE FUNCTION stop_record(p_org uuid, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    v_live boolean;
    v_id uuid;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{scope.stopped}');
    PERFORM system_actor(c);
    PERFORM head_lock(p_org);
    d := c->'data';
    v_live := (c->>'livemode')::boolean;
    v_id := scope_target(p_org, v_live, d->>'scope', d->>'target');
    IF NOT EXISTS (SELECT FROM scope_states WHERE org_id = p_org AND livemode = v_live AND scope = d->>'scope' AND scope_id = v_id AND stopped
                   UNION ALL SELECT FROM platform_states WHERE v_id IS NULL AND scope = d->>'scope' AND name = d->>'target' AND stopped)
       OR EXISTS (SELECT FROM stops s WHERE s.org_id = p_org AND s.livemode = v_live AND s.scope = d->>'scope' AND s.target = d->>'target'
                  AND NOT EXISTS (SELECT FROM stop_lifts l WHERE l.org_id = p_org AND l.stop_id = s.id)) THEN
        RETURN jsonb_build_object('moved', 'flag');
    END IF;
    INSERT INTO stops (org_id, id, livemode, scope, scope_id, target, initiator, reason_commit, at, entry_id)
    VALUES (p_org, unwire('stp', d->>'stop'), v_live, d->>'scope', v_id, d->>'target', c->>'actor', d->>'reason_commit',
            (c->>'at')::timestamptz, unwire('ent', c->>'id'));
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('stop_record(uuid,bytea,bytea,jsonb)', '{codespar_rail}');

-- Who runs this deployment. Named once, by the owner, when it is set up.
CREATE FUNCTION platform_name(p_org uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM enter(p_org);
    IF NOT EXISTS (SELECT FROM organisations WHERE id = p_org AND closed_at IS NULL) THEN
        PERFORM refuse('scopes_known', 'there is no such organisation');
    END IF;
    UPDATE deployment SET platform_org = p_org;
END $$;
GRANT UPDATE (platform_org) ON deployment TO codespar_definer;
CALL definer('platform_name(uuid)', '{codespar_owner}');

-- The platform's people confirm, one chain at a time, that the database was set back: an entry says what was lost, and everything goes on.
CREATE FUNCTION ledger_reanchor(p_org uuid, p_content bytea, p_sig bytea, p_openings jsonb, p_platform uuid, p_digest bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
    r ledger_rewinds;
BEGIN
    PERFORM enter(p_platform);
    p := holder(p_platform, p_digest, 'stops:lift');
    PERFORM scope_target(p_platform, p.livemode, 'platform', 'platform');
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{ledger.reanchored}');
    PERFORM system_actor(c);
    IF c->>'on_behalf_of' IS DISTINCT FROM p.actor THEN
        PERFORM refuse('record_actor', 'the record names somebody else than the token''s holder');
    END IF;
    PERFORM head_lock(p_org);
    SELECT * INTO r FROM ledger_rewinds WHERE org_id = p_org AND entry_id IS NULL ORDER BY generation LIMIT 1 FOR UPDATE;
    IF r.org_id IS NULL THEN
        PERFORM refuse('ledger_rewinds_open', 'this chain was not set back, or that is confirmed already');
    ELSIF (c #> '{data,generation}', c #> '{data,sealed}', c #> '{data,size}')
          IS DISTINCT FROM (to_jsonb(r.generation), to_jsonb(r.sealed), to_jsonb(r.size))
          OR coalesce(opened(p_openings, c #>> '{data,reason_commit}'), '') = '' THEN
        PERFORM refuse('record_shape', 'a confirmation says what was lost, and why');
    END IF;
    UPDATE ledger_rewinds SET entry_id = unwire('ent', c->>'id') WHERE org_id = p_org AND generation = r.generation;
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('ledger_reanchor(uuid,bytea,bytea,jsonb,uuid,bytea)', '{codespar_control}');

-- One line of psql, for the owner or a superuser, with every process of ours dead: CALL codespar.stop('platform'). A rail without an
-- organisation is everybody's; an organisation is stopped in both modes. When it returns, no hold is made under it any more.
CREATE PROCEDURE stop(p_scope text, p_target text DEFAULT 'platform', p_org text DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
    v_org uuid;
    v_mode boolean;
    v_found boolean := false;
    v_last xid8;
BEGIN
    PERFORM set_config('search_path', 'codespar, pg_catalog, pg_temp', true);
    IF p_scope = 'platform' OR (p_scope = 'rail' AND p_org IS NULL) THEN
        UPDATE platform_states SET stopped = true WHERE scope = p_scope AND name = p_target;
        v_found := FOUND;
    ELSE
        v_org := unwire('org', CASE p_scope WHEN 'org' THEN p_target ELSE p_org END);
        PERFORM enter(v_org);
        PERFORM head_lock(v_org);
        FOREACH v_mode IN ARRAY '{f,t}'::boolean[] LOOP
            IF scope_row(v_org, v_mode, p_scope, p_target) IS NOT NULL THEN
                PERFORM stop_flag_set(v_org, v_mode, p_scope, p_target, scope_row(v_org, v_mode, p_scope, p_target), NULL);
                v_found := true;
            END IF;
        END LOOP;
    END IF;
    IF NOT v_found THEN
        PERFORM refuse('scopes_known', 'there is nothing of that name to stop');
    END IF;
    COMMIT;
    -- A transaction that began before may still hold money: wait for the last of them.
    v_last := pg_snapshot_xmax(pg_current_snapshot());
    WHILE pg_snapshot_xmin(pg_current_snapshot()) < v_last LOOP
        COMMIT;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RAISE NOTICE 'Stopped: nothing is held under it from here on. What was sent before is followed to its end.';
END $$;
REVOKE ALL ON PROCEDURE stop FROM PUBLIC;

GRANT EXECUTE ON FUNCTION scope_row, scope_target, receipt_check, stop_flag_set TO codespar_definer;
