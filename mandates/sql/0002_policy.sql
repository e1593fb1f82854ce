-- The policy as SQL enforces it. Python decides first and explains; what stands here can only be stricter.

CREATE TYPE payment_facts AS (
    org uuid, livemode boolean, project uuid, agent uuid, mandate uuid, counterparty uuid, country text, category text,
    purpose text, rail text, amount bigint, currency text
);

-- Local wall-clock time decides, so that daylight saving cannot move a window. Days are ISO (Monday 1), minutes count from midnight;
-- a window that ends before it starts runs into the next day.
CREATE FUNCTION in_windows(p_windows jsonb, p_local timestamp) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT EXISTS (
        SELECT FROM jsonb_array_elements(p_windows) w,
             LATERAL (SELECT (w->>'start')::integer AS s, (w->>'end')::integer AS e, w->'days' AS days,
                             extract(hour FROM p_local)::integer * 60 + extract(minute FROM p_local)::integer AS m,
                             extract(isodow FROM p_local)::integer AS d) x
        WHERE CASE WHEN s < e THEN days @> to_jsonb(d) AND m >= s AND m < e
                   ELSE (days @> to_jsonb(d) AND m >= s) OR (days @> to_jsonb((d + 5) % 7 + 1) AND m < e) END)
$$;

CREATE FUNCTION window_start(p_kind text, p_local timestamp) RETURNS date LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE WHEN p_kind = 'same' THEN '1970-01-01'::date WHEN p_kind IN ('day', 'week', 'month') THEN date_trunc(p_kind, p_local)::date END $$;

-- What a limit counts, written out: the scope of its policy and the values it is counted per, in a fixed order.
CREATE FUNCTION selector(p_scope text, p_scope_id uuid, p_per text[], f payment_facts) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT p_scope || '=' || p_scope_id || CASE WHEN f.livemode THEN ';live' ELSE ';test' END
        || CASE WHEN 'project' = ANY (p_per) THEN ';project=' || f.project ELSE '' END
        || CASE WHEN 'agent' = ANY (p_per) THEN ';agent=' || f.agent ELSE '' END
        || CASE WHEN 'counterparty' = ANY (p_per) THEN ';counterparty=' || f.counterparty ELSE '' END
        || CASE WHEN 'category' = ANY (p_per) THEN ';category=' || coalesce(f.category, '?') ELSE '' END
        || CASE WHEN 'purpose' = ANY (p_per) THEN ';purpose=' || coalesce(f.purpose, '?') ELSE '' END
        || CASE WHEN 'rail' = ANY (p_per) THEN ';rail=' || f.rail ELSE '' END
$$;

CREATE FUNCTION same_payment(f payment_facts) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'same=' || encode(sha256(convert_to(concat_ws(E'\n', f.mandate, f.counterparty, f.amount, f.currency, coalesce(f.purpose, '')), 'UTF8')), 'hex')
$$;

-- Whether a rule speaks of this payment. What is unknown cannot be allowed, and cannot escape a refusal.
CREATE FUNCTION rule_matches(r policy_rules, f payment_facts, p_local timestamp) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT (r.counterparties IS NULL OR f.counterparty = ANY (r.counterparties))
       AND (r.countries IS NULL OR coalesce(f.country = ANY (r.countries), r.effect <> 'allow'))
       AND (r.categories IS NULL OR coalesce(f.category = ANY (r.categories), r.effect <> 'allow' AND NOT r.unknown_category))
       AND (r.purposes IS NULL OR coalesce(f.purpose = ANY (r.purposes), r.effect <> 'allow'))
       AND (r.rails IS NULL OR f.rail = ANY (r.rails))
       AND (r.currencies IS NULL OR f.currency = ANY (r.currencies))
       AND (r.time_windows IS NULL OR in_windows(r.time_windows, p_local))
       AND (r.amount_over IS NULL OR (f.currency = r.currency AND f.amount > r.amount_over))
       AND (r.effect <> 'limit' OR f.currency = r.currency)
$$;

-- The versions in force (p_state 'active'), or those that watch ('shadow'). A shadow replaces nothing, and ends with the next word on its policy.
CREATE FUNCTION policies_in(p_state text, p_org uuid, p_livemode boolean, p_project uuid, p_agent uuid)
RETURNS TABLE (policy_id uuid, version integer, scope text, scope_id uuid) LANGUAGE sql STABLE AS $$
    SELECT p.id, a.version, p.scope, p.scope_id
    FROM policies p
    CROSS JOIN LATERAL (SELECT x.version, x.state FROM policy_activations x
                        WHERE x.org_id = p.org_id AND x.policy_id = p.id AND (p_state = 'shadow' OR x.state <> 'shadow')
                        ORDER BY x.epoch DESC LIMIT 1) a
    WHERE p.org_id = p_org AND p.livemode = p_livemode AND a.state = p_state
      AND p.scope_id IN (p_org, p_project, p_agent)
$$;

-- What is counted: every selector that a rule in force, or in shadow, ever needed. Counting never stops, so no window has a gap.
CREATE TABLE counter_selectors (
    org_id uuid NOT NULL REFERENCES organisations,
    livemode boolean NOT NULL,
    scope text NOT NULL,
    scope_id uuid NOT NULL,
    per text[] NOT NULL,
    currency text NOT NULL,
    window_kind text NOT NULL,
    CONSTRAINT counter_selectors_pkey PRIMARY KEY (org_id, livemode, scope, scope_id, per, currency, window_kind)
);
CALL tenant_table('counter_selectors', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('counter_selectors');

-- Every counter that this payment moves, sorted: the order in which they are locked.
CREATE FUNCTION policy_counters(f payment_facts, p_local timestamp)
RETURNS TABLE (selector text, currency text, window_kind text, window_start date) LANGUAGE sql STABLE AS $$
    SELECT DISTINCT CASE s.window_kind WHEN 'same' THEN same_payment(f) ELSE selector(s.scope, s.scope_id, s.per, f) END,
           f.currency, s.window_kind, window_start(s.window_kind, p_local)
    FROM counter_selectors s
    WHERE s.org_id = f.org AND s.livemode = f.livemode AND s.scope_id IN (f.org, f.project, f.agent) AND s.currency IN (f.currency, '*')
    ORDER BY 1, 2, 3, 4
$$;

-- allow | approval | deny, with the counters as they stand. The caller holds their locks when it means it.
CREATE FUNCTION policy_outcome(f payment_facts, p_now timestamptz, p_timezone text) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_local timestamp := p_now AT TIME ZONE p_timezone;
    v_policies integer;
    v_org_policy boolean;
    v_org_limit boolean;
    v_allowed integer;
    v_denied boolean;
    v_approval boolean;
    v_over boolean;
BEGIN
    SELECT count(DISTINCT a.policy_id),
           bool_or(a.scope = 'org'),
           bool_or(a.scope = 'org' AND r.effect = 'limit' AND r.currency = f.currency),
           count(DISTINCT a.policy_id) FILTER (WHERE r.effect = 'allow' AND rule_matches(r, f, v_local)),
           bool_or(r.effect = 'deny' AND rule_matches(r, f, v_local)),
           bool_or((r.effect = 'approval' AND rule_matches(r, f, v_local))
                   OR (r.effect = 'fingerprint' AND coalesce(s.last_at, '-infinity') > p_now - make_interval(secs => r.seconds))),
           bool_or(r.effect = 'limit' AND rule_matches(r, f, v_local) AND
                   CASE r.window_kind WHEN 'payment' THEN f.amount > r.max_amount
                   ELSE coalesce(coalesce(k.amount, 0) + f.amount > r.max_amount, false)
                        OR coalesce(coalesce(k.uses, 0) + 1 > r.max_count, false) END)
    INTO v_policies, v_org_policy, v_org_limit, v_allowed, v_denied, v_approval, v_over
    FROM policies_in('active', f.org, f.livemode, f.project, f.agent) a
    LEFT JOIN policy_rules r ON r.org_id = f.org AND r.policy_id = a.policy_id AND r.version = a.version
    LEFT JOIN counters k ON r.effect = 'limit' AND k.org_id = f.org AND k.selector = selector(a.scope, a.scope_id, r.per, f)
        AND k.currency = f.currency AND k.window_kind = r.window_kind AND k.window_start = window_start(r.window_kind, v_local)
    LEFT JOIN counters s ON r.effect = 'fingerprint' AND s.org_id = f.org AND s.selector = same_payment(f)
        AND s.currency = f.currency AND s.window_kind = 'same' AND s.window_start = '1970-01-01';
    RETURN CASE WHEN v_org_policy IS NOT TRUE OR v_org_limit IS NOT TRUE OR v_allowed < v_policies OR v_denied OR v_over THEN 'deny'
                WHEN v_approval THEN 'approval' ELSE 'allow' END;
END $$;

-- Turn a document into rows. An unknown member or effect is refused here too: what is not enforced must not be believed.
CREATE FUNCTION policy_compile(p_org uuid, p_policy uuid, p_version integer, p_document jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r jsonb;
    w jsonb;
BEGIN
    FOR r IN SELECT * FROM jsonb_array_elements(p_document->'rules') LOOP
        w := coalesce(r->'when', '{}');
        IF EXISTS (SELECT FROM jsonb_object_keys(r) k WHERE k <> ALL ('{id,effect,when,window,currency,max_amount,max_count,per,seconds}'))
           OR EXISTS (SELECT FROM jsonb_object_keys(w) k
                      WHERE k <> ALL ('{counterparties,countries,categories,purposes,rails,currencies,time,amount_over}')) THEN
            PERFORM refuse('policy_rules_known', 'a rule has a member that is not enforced');
        END IF;
        INSERT INTO policy_rules (org_id, policy_id, version, rule_id, effect, counterparties, countries, categories, purposes, rails,
            currencies, time_windows, amount_over, currency, window_kind, max_amount, max_count, per, seconds, unknown_category)
        VALUES (p_org, p_policy, p_version, r->>'id', r->>'effect', unwire_all('ctp', w->'counterparties'), texts(w->'countries'),
            texts(w->'categories'), texts(w->'purposes'), texts(w->'rails'), texts(w->'currencies'), w->'time',
            (w #>> '{amount_over,amount}')::bigint, coalesce(r->>'currency', w #>> '{amount_over,currency}'), r->>'window',
            (r->>'max_amount')::bigint, (r->>'max_count')::integer, coalesce(texts(r->'per'), '{}'), (r->>'seconds')::integer,
            coalesce(p_document->>'unknown_category', 'deny') = 'allow');
    END LOOP;
END $$;

GRANT EXECUTE ON FUNCTION in_windows, window_start, selector, same_payment, rule_matches, policies_in, policy_counters,
    policy_outcome, policy_compile, epoch_grows, usage_caps_fixed TO codespar_definer;
