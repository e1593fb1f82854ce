-- Everything that a decision reads, in one call and one moment.

CREATE FUNCTION policy_documents(p_state text, f payment_facts) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('policy', wire('pol', a.policy_id), 'version', a.version, 'scope', a.scope, 'scope_id', a.scope_id,
        'document', v.document) ORDER BY array_position('{org,project,agent}', a.scope)), '[]')
    FROM policies_in(p_state, f.org, f.livemode, f.project, f.agent) a
    JOIN policy_versions v ON v.org_id = f.org AND v.policy_id = a.policy_id AND v.version = a.version
$$;
GRANT EXECUTE ON FUNCTION policy_documents TO codespar_definer;

CREATE FUNCTION on_rail(f payment_facts, p_rail text) RETURNS payment_facts LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    f.rail := p_rail;
    RETURN f;
END $$;

-- The consent that a payment over this rail needs, as it is now; null where none is needed. Consents come later: rails/sql/0011_consents.sql.
CREATE FUNCTION route_consent(f payment_facts, p_rail text) RETURNS jsonb LANGUAGE plpgsql STABLE AS
$$ BEGIN RETURN consent_seen(f, p_rail); END $$;

-- The rails that a payment can take: the one that it names, or all on which the organisation has an account, or none (rail null). `ready` is
-- null without an account, else whether it passed its checks; `failed` names the first that it did not.
CREATE FUNCTION routes(f payment_facts, p_local timestamp) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_agg(jsonb_build_object('rail', r.rail, 'ready', a.ready, 'failed', a.failed, 'stopped', stopped_scope(on_rail(f, r.rail)), 'consent', route_consent(f, r.rail),
        'counters', (SELECT coalesce(jsonb_agg(jsonb_build_object('selector', n.selector, 'window', n.window_kind, 'start', n.window_start,
                        'amount', coalesce(k.amount, 0), 'uses', coalesce(k.uses, 0), 'last_at', utc(k.last_at))), '[]')
                     FROM policy_counters(on_rail(f, r.rail), p_local) n
                     LEFT JOIN counters k ON k.org_id = f.org AND k.selector = n.selector AND k.currency = n.currency
                          AND k.window_kind = n.window_kind AND k.window_start = n.window_start)) ORDER BY r.rail)
    FROM (SELECT f.rail WHERE f.rail IS NOT NULL
          UNION ALL
          SELECT x.rail FROM (SELECT NULL) one LEFT JOIN rail_accounts x ON x.org_id = f.org AND x.livemode = f.livemode WHERE f.rail IS NULL) r
    LEFT JOIN rail_accounts a ON a.org_id = f.org AND a.livemode = f.livemode AND a.rail = r.rail
$$;

-- What a decision on these facts reads, of one moment.
CREATE FUNCTION facts_seen(p_org uuid, v_agent uuid, f payment_facts, v_now timestamptz) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    o organisations;
BEGIN
    SELECT * INTO o FROM organisations WHERE id = p_org;
    RETURN jsonb_build_object(
        'at', utc(v_now), 'org', wire('org', p_org), 'deployment', (SELECT name FROM deployment), 'timezone', o.timezone,
        'agent', (SELECT jsonb_build_object('id', wire('agt', a.id), 'project', wire('prj', a.project_id), 'livemode', a.livemode, 'public_jwk', a.public_jwk)
                  FROM agents a WHERE a.org_id = p_org AND a.id = v_agent AND a.closed_at IS NULL),
        'head', ledger_head(p_org),
        'mandate', (SELECT jsonb_build_object('id', wire('mnd', m.id), 'project', wire('prj', m.project_id), 'livemode', m.livemode, 'agent', wire('agt', m.agent_id),
                        'profile', m.profile, 'currency', m.currency, 'max_amount', m.max_amount, 'budget', m.budget, 'max_uses', m.max_uses,
                        'purposes', m.purposes, 'counterparties', (SELECT array_agg(wire('ctp', x)) FROM unnest(m.counterparties) x),
                        'countries', m.countries, 'categories', m.categories, 'rails', m.rails, 'time_windows', m.time_windows,
                        'not_before', utc(m.not_before), 'expires_at', utc(m.expires_at), 'credential', m.credential, 'kid', m.kid,
                        'paused', u.paused, 'spent', u.spent, 'uses', u.uses,
                        'revoked', mandate_revoked(m))
                    FROM mandates m JOIN mandate_usages u ON u.org_id = m.org_id AND u.mandate_id = m.id
                    WHERE m.org_id = p_org AND m.id = f.mandate),
        'mandate_key', (SELECT k.public_jwk FROM private_keys k JOIN mandates m ON m.org_id = k.org_id AND m.kid = k.kid
                        WHERE k.org_id = p_org AND k.purpose = 'mandate' AND m.id = f.mandate),
        'counterparty', (SELECT jsonb_build_object('id', wire('ctp', k.id), 'status', k.status, 'version', k.version, 'name', k.name, 'country', k.country,
                            'category', k.category, 'accounts', v.document->'accounts')
                         FROM counterparties k JOIN counterparty_versions v ON v.org_id = k.org_id AND v.counterparty_id = k.id AND v.version = k.version
                         WHERE k.org_id = p_org AND k.id = f.counterparty),
        'policies', policy_documents('active', f), 'shadows', policy_documents('shadow', f),
        'wallet', (SELECT jsonb_build_object('id', wire('wal', w.id), 'available', w.available) FROM accounts w
                   WHERE w.org_id = p_org AND w.kind = 'wallet' AND w.agent_id = v_agent AND w.livemode = f.livemode AND w.currency = f.currency),
        'routes', routes(f, v_now AT TIME ZONE o.timezone));
END $$;

GRANT EXECUTE ON FUNCTION on_rail, route_consent, routes, facts_seen TO codespar_definer;

CREATE FUNCTION snapshot(p_org uuid, p_digest bytea, p_request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    p principal;
    y payments;
    f payment_facts;
    v_agent uuid;
    v_now timestamptz := clock_timestamp();
BEGIN
    PERFORM enter(p_org);
    p := principal_of(p_org, p_digest);
    -- A member decides about a payment that waits: the facts are that payment's, not the request's.
    v_agent := p.agent_id;
    IF p_request ? 'payment' THEN
        SELECT * INTO y FROM payments WHERE org_id = p_org AND id = unwire('pay', p_request->>'payment') AND livemode = p.livemode;
        v_agent := y.agent_id;
    END IF;
    f := facts_of(p_org, v_agent, p_request);
    RETURN facts_seen(p_org, v_agent, f, v_now) || jsonb_build_object(
        'principal', CASE WHEN p.token_id IS NOT NULL THEN to_jsonb(p) END,
        'idempotency', (SELECT jsonb_build_object('fingerprint', encode(i.fingerprint, 'hex'), 'subject', i.subject, 'status', i.status,
                            'body', translate(encode(i.body, 'base64'), E'\n', ''), 'expired', i.created_at < v_now - interval '30 days')
                        FROM idempotency_keys i WHERE i.org_id = p_org AND i.principal = p.actor AND i.operation = p_request->>'operation'
                          AND i.key_hash = decode(p_request->>'key', 'hex')));
END $$;
CALL definer('snapshot(uuid,bytea,jsonb)', '{codespar_agent,codespar_control}');

-- The same for each payment of a batch, in their order.
CREATE FUNCTION snapshots(p_org uuid, p_digest bytea, p_requests jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM enter(p_org);
    RETURN (SELECT jsonb_agg(snapshot(p_org, p_digest, x) ORDER BY n) FROM jsonb_array_elements(p_requests) WITH ORDINALITY t (x, n));
END $$;
CALL definer('snapshots(uuid,bytea,jsonb)', '{codespar_agent}');
