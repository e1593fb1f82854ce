-- Every write that finance, operators and on-call engineers make: one function a verb, each leaves one record.

CREATE FUNCTION counterparty_document(p_org uuid, c jsonb, p_openings jsonb, p_version integer) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    document jsonb := opened(p_openings, c #>> '{data,commit}')::jsonb;
BEGIN
    IF document IS NULL OR jsonb_typeof(document->'accounts') <> 'array' THEN
        PERFORM refuse('record_shape', 'the counterparty''s document is missing');
    END IF;
    INSERT INTO counterparty_versions (org_id, counterparty_id, version, document, author, entry_id)
    VALUES (p_org, unwire('ctp', c #>> '{data,id}'), p_version, document, c->>'actor', unwire('ent', c->>'id'));
    RETURN document;
END $$;

-- 'counterparty.created' by finance is confirmed at once; 'counterparty.proposed' by an agent waits for a person.
CREATE FUNCTION counterparty_create(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
    document jsonb := NULL;
    v_id uuid;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{counterparty.created,counterparty.proposed}');
    p := caller(p_org, p_digest, CASE WHEN c->>'kind' = 'counterparty.created' THEN 'counterparties:write' ELSE 'counterparties:propose' END, c);
    v_id := unwire('ctp', c #>> '{data,id}');
    document := opened(p_openings, c #>> '{data,commit}')::jsonb;
    INSERT INTO counterparties (org_id, id, livemode, status, version, name, country, category, entry_id)
    VALUES (p_org, v_id, p.livemode, CASE WHEN c->>'kind' = 'counterparty.created' THEN 'confirmed' ELSE 'proposed' END, 1,
            document->>'name', document->>'country', document->>'category', unwire('ent', c->>'id'));
    PERFORM counterparty_document(p_org, c, p_openings, 1);
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('counterparty_create(uuid,bytea,bytea,bytea,jsonb)', '{codespar_agent,codespar_control}');

-- A new version, a confirmation of the version that was read, or the end of a counterparty.
CREATE FUNCTION counterparty_change(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
    document jsonb;
    k counterparties;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{counterparty.updated,counterparty.confirmed,counterparty.retired}');
    p := caller(p_org, p_digest, 'counterparties:write', c);
    SELECT * INTO k FROM counterparties WHERE org_id = p_org AND id = unwire('ctp', c #>> '{data,id}') AND livemode = p.livemode FOR NO KEY UPDATE;
    IF k.id IS NULL OR k.status = 'retired' OR k.version <> (c #>> '{data,from_version}')::integer THEN
        PERFORM refuse('counterparties_version', 'the counterparty changed, is retired, or is unknown: read it again');
    END IF;
    -- The head is locked before the row changes, so that no payment is decided on one version and recorded after the next.
    PERFORM head_lock(p_org);
    IF c->>'kind' = 'counterparty.updated' THEN
        document := counterparty_document(p_org, c, p_openings, k.version + 1);
        UPDATE counterparties SET version = k.version + 1, name = document->>'name', country = document->>'country',
            category = document->>'category', status = 'confirmed', entry_id = unwire('ent', c->>'id') WHERE org_id = p_org AND id = k.id;
    ELSE
        UPDATE counterparties SET status = CASE c->>'kind' WHEN 'counterparty.confirmed' THEN 'confirmed' ELSE 'retired' END,
            entry_id = unwire('ent', c->>'id') WHERE org_id = p_org AND id = k.id;
    END IF;
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('counterparty_change(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

CREATE FUNCTION scope_epoch(p_org uuid, p_livemode boolean, p_scope text, p_id uuid) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT epoch FROM scope_states WHERE org_id = p_org AND scope = p_scope AND scope_id = p_id AND livemode = p_livemode), 0)
$$;

CREATE FUNCTION epochs_now(p_org uuid, p_livemode boolean, p_project uuid, p_agent uuid) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('platform', (SELECT epoch FROM platform_states WHERE scope = 'platform' AND name = 'platform'),
        'org', scope_epoch(p_org, p_livemode, 'org', p_org), 'project', scope_epoch(p_org, p_livemode, 'project', p_project),
        'agent', scope_epoch(p_org, p_livemode, 'agent', p_agent))
$$;

-- Whether a mandate is revoked, itself or with what it stands under.
CREATE FUNCTION mandate_revoked(m mandates) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT scope_epoch(m.org_id, m.livemode, 'mandate', m.id) > 0 OR epochs_now(m.org_id, m.livemode, m.project_id, m.agent_id) <> m.epochs
$$;

CREATE FUNCTION mandate_issue(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb, p_credential text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
    d jsonb;
    v_id uuid;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{mandate.issued}');
    p := caller(p_org, p_digest, 'mandates:write', c);
    d := c->'data';
    v_id := unwire('mnd', d->>'id');
    IF encode(sha256(convert_to(p_credential, 'UTF8')), 'hex') IS DISTINCT FROM d->>'credential_sha256' THEN
        PERFORM refuse('record_shape', 'the credential is not the one that the record names');
    END IF;
    INSERT INTO mandates (org_id, project_id, id, livemode, agent_id, profile, currency, max_amount, budget, max_uses, purposes, counterparties,
        countries, categories, rails, time_windows, not_before, expires_at, credential, kid, epochs, entry_id)
    SELECT p_org, a.project_id, v_id, p.livemode, a.id, d->>'profile', d->>'currency', (d->>'max_amount')::bigint, (d->>'budget')::bigint,
        (d->>'max_uses')::integer, texts(d->'purposes'), unwire_all('ctp', d->'counterparties'), texts(d->'countries'), texts(d->'categories'),
        texts(d->'rails'), NULLIF(d->'time_windows', 'null'), (d->>'not_before')::timestamptz, (d->>'expires_at')::timestamptz,
        p_credential, d->>'kid', epochs_now(p_org, a.livemode, a.project_id, a.id), unwire('ent', c->>'id')
    FROM agents a WHERE a.org_id = p_org AND a.id = unwire('agt', d->>'agent') AND a.livemode = p.livemode AND a.closed_at IS NULL
      AND wire('prj', a.project_id) = c->>'project';
    IF NOT FOUND THEN
        PERFORM refuse('mandates_agent', 'there is no such open agent in this mode');
    END IF;
    INSERT INTO mandate_usages (org_id, mandate_id, budget, max_uses) VALUES (p_org, v_id, (d->>'budget')::bigint, (d->>'max_uses')::integer);
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('mandate_issue(uuid,bytea,bytea,bytea,jsonb,text)', '{codespar_control}');

CREATE FUNCTION mandate_pause(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
    mandate uuid;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{mandate.paused,mandate.resumed}');
    p := caller(p_org, p_digest, CASE c->>'kind' WHEN 'mandate.paused' THEN 'mandates:pause' ELSE 'mandates:write' END, c);
    mandate := unwire('mnd', c #>> '{data,id}');
    UPDATE mandate_usages u SET paused = (c->>'kind' = 'mandate.paused')
    WHERE u.org_id = p_org AND u.mandate_id = mandate AND u.paused <> (c->>'kind' = 'mandate.paused')
      AND EXISTS (SELECT FROM mandates m WHERE m.org_id = p_org AND m.id = mandate AND m.livemode = p.livemode)
      AND scope_epoch(p_org, p.livemode, 'mandate', mandate) = 0;
    IF NOT FOUND THEN
        PERFORM refuse('mandates_pausable', 'the mandate is unknown, revoked, or already in that state');
    END IF;
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('mandate_pause(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

-- A policy's first version makes the policy; every version is compiled when it is written.
CREATE FUNCTION policy_write(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
    d jsonb;
    policy uuid;
    target uuid;
    next integer;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{policy.version_written}');
    p := caller(p_org, p_digest, 'policies:write', c);
    d := c->'data';
    policy := unwire('pol', d->>'id');
    target := CASE d->>'scope' WHEN 'org' THEN p_org WHEN 'project' THEN unwire('prj', d->>'scope_id') WHEN 'agent' THEN unwire('agt', d->>'scope_id') END;
    IF (d->>'version')::integer = 1 THEN
        IF d->>'scope' <> 'org' AND NOT EXISTS (
            SELECT FROM projects WHERE org_id = p_org AND id = target AND livemode = p.livemode
            UNION ALL SELECT FROM agents WHERE org_id = p_org AND id = target AND livemode = p.livemode) THEN
            PERFORM refuse('policies_scope_known', 'there is no such project or agent in this mode');
        END IF;
        INSERT INTO policies (org_id, id, livemode, name, scope, scope_id, entry_id)
        VALUES (p_org, policy, p.livemode, d->>'name', d->>'scope', target, unwire('ent', c->>'id'));
    END IF;
    PERFORM head_lock(p_org);
    SELECT coalesce(max(version), 0) + 1 INTO next FROM policy_versions WHERE org_id = p_org AND policy_id = policy;
    IF next <> (d->>'version')::integer OR NOT EXISTS (SELECT FROM policies WHERE org_id = p_org AND id = policy AND livemode = p.livemode) THEN
        PERFORM refuse('policy_versions_next', 'somebody else wrote a version in the meantime: read the policy again');
    END IF;
    INSERT INTO policy_versions (org_id, policy_id, version, document, author, entry_id)
    VALUES (p_org, policy, next, d->'document', p.actor, unwire('ent', c->>'id'));
    PERFORM policy_compile(p_org, policy, next, d->'document');
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('policy_write(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

-- New selectors start with what was already spent in the running windows. The head is locked first and every payment re-reads
-- the policy epoch after its own head lock, so a payment is either in these sums or decided again under the new policy.
CREATE FUNCTION policy_activate(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
    d jsonb;
    v_epoch bigint;
    v_zone text;
    s counter_selectors;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{policy.activated}');
    p := caller(p_org, p_digest, 'policies:write', c);
    d := c->'data';
    PERFORM head_lock(p_org);
    IF NOT EXISTS (SELECT FROM policies WHERE org_id = p_org AND id = unwire('pol', d->>'id') AND livemode = p.livemode) THEN
        PERFORM refuse('policies_known', 'there is no such policy');
    END IF;
    INSERT INTO scope_states AS e (org_id, livemode, scope, scope_id, epoch) VALUES (p_org, p.livemode, 'policy', p_org, 1)
    ON CONFLICT (org_id, scope, scope_id, livemode) DO UPDATE SET epoch = e.epoch + 1 RETURNING e.epoch INTO v_epoch;
    INSERT INTO policy_activations (org_id, policy_id, epoch, version, state, author, entry_id)
    VALUES (p_org, unwire('pol', d->>'id'), v_epoch, (d->>'version')::integer, d->>'state', p.actor, unwire('ent', c->>'id'));
    IF d->>'state' IN ('active', 'shadow') THEN
        SELECT timezone INTO v_zone FROM organisations WHERE id = p_org;
        FOR s IN
            INSERT INTO counter_selectors (org_id, livemode, scope, scope_id, per, currency, window_kind)
            SELECT DISTINCT p_org, o.livemode, CASE r.effect WHEN 'fingerprint' THEN 'org' ELSE o.scope END,
                   CASE r.effect WHEN 'fingerprint' THEN p_org ELSE o.scope_id END,
                   ARRAY(SELECT DISTINCT x FROM unnest(r.per) x ORDER BY x),
                   coalesce(r.currency, '*'), coalesce(r.window_kind, 'same')
            FROM policy_rules r JOIN policies o ON o.org_id = r.org_id AND o.id = r.policy_id
            WHERE r.org_id = p_org AND r.policy_id = unwire('pol', d->>'id') AND r.version = (d->>'version')::integer
              AND (r.effect = 'fingerprint' OR (r.effect = 'limit' AND r.window_kind <> 'payment'))
            ON CONFLICT DO NOTHING RETURNING *
        LOOP
            PERFORM counters_backfill(s, v_zone);
        END LOOP;
    END IF;
    RETURN record_append(p_org, p_content, p_sig, c, p_openings) || jsonb_build_object('epoch', v_epoch);
END $$;
CALL definer('policy_activate(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

-- Every decision, with the facts that it was made on: the history from which new counters start.
CREATE TABLE decisions (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    payment_id uuid NOT NULL,
    facts payment_facts NOT NULL,
    outcome text NOT NULL,
    layer text,
    code text,
    reasons jsonb NOT NULL,
    policies jsonb NOT NULL,
    shadows jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT decisions_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT decisions_outcome CHECK (outcome IN ('allow', 'deny', 'approval')),
    CONSTRAINT decisions_code CHECK ((outcome = 'allow') = (code IS NULL))
);
CREATE INDEX decisions_at ON decisions (org_id, at);
CREATE INDEX decisions_payment ON decisions (org_id, payment_id);
CALL tenant_table('decisions', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('decisions');

CREATE FUNCTION counters_backfill(s counter_selectors, p_zone text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO counters (org_id, selector, currency, window_kind, window_start, amount, uses, last_at)
    SELECT s.org_id, CASE s.window_kind WHEN 'same' THEN same_payment(d.facts) ELSE selector(s.scope, s.scope_id, s.per, d.facts) END,
           (d.facts).currency, s.window_kind, window_start(s.window_kind, clock_timestamp() AT TIME ZONE p_zone),
           sum(h.amount - coalesce(r.released, 0)), count(*) FILTER (WHERE coalesce(r.released, 0) < h.amount), max(d.at)
    FROM decisions d
    JOIN holds h ON h.org_id = d.org_id AND h.payment_id = d.payment_id AND h.entry_id = d.entry_id
    LEFT JOIN hold_resolutions r ON r.org_id = h.org_id AND r.hold_id = h.id
    WHERE d.org_id = s.org_id AND (d.facts).livemode = s.livemode AND s.currency IN ((d.facts).currency, '*')
      AND s.scope_id IN (s.org_id, (d.facts).project, (d.facts).agent)
      AND d.at >= clock_timestamp() - interval '32 days'
      AND window_start(s.window_kind, d.at AT TIME ZONE p_zone) = window_start(s.window_kind, clock_timestamp() AT TIME ZONE p_zone)
    GROUP BY 1, 2, 3, 4, 5
    ON CONFLICT DO NOTHING
$$;

GRANT EXECUTE ON FUNCTION counterparty_document, scope_epoch, epochs_now, mandate_revoked, counters_backfill TO codespar_definer;
