-- What the holder of an account allows at its bank: to read, or to pay, for how long and how much. Without it nothing is read and nothing paid.

CREATE TABLE consents (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    livemode boolean NOT NULL,
    rail text NOT NULL,
    scopes text[] NOT NULL,
    -- Of a consent to pay: the most of one payment, and of all of them.
    max_payment bigint,
    max_total bigint,
    currency text,
    expires_at timestamptz NOT NULL,
    status text NOT NULL DEFAULT 'requested',
    -- Why it failed or ended, in one word of ours.
    code text,
    -- What the provider calls it, and where its holder says yes or no.
    provider_consent text,
    address text,
    requested_by text NOT NULL,
    revoked_at timestamptz,
    revoked_by text,
    -- Since when the provider knows that it was revoked.
    told_at timestamptz,
    due_at timestamptz,
    checks integer NOT NULL DEFAULT 0,
    checked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT consents_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT consents_rail UNIQUE (org_id, id, rail, livemode),
    CONSTRAINT consents_account FOREIGN KEY (org_id, rail, livemode) REFERENCES rail_accounts (org_id, rail, livemode),
    CONSTRAINT consents_status CHECK (status IN ('requested', 'awaiting_authorisation', 'authorised', 'rejected', 'failed', 'revoked')),
    CONSTRAINT consents_scopes CHECK (cardinality(scopes) > 0 AND (scopes = '{payments.initiate}' OR scopes <@ '{accounts.read,balances.read,transactions.read}')),
    CONSTRAINT consents_limits CHECK (CASE WHEN 'payments.initiate' = ANY (scopes)
        THEN coalesce(max_payment BETWEEN 1 AND max_total AND currency ~ '^[A-Z]{3}$', false) ELSE num_nonnulls(max_payment, max_total, currency) = 0 END),
    CONSTRAINT consents_expiry CHECK (expires_at <= created_at + interval '366 days'),
    CONSTRAINT consents_known CHECK (status NOT IN ('awaiting_authorisation', 'authorised') OR num_nulls(provider_consent, address) = 0),
    CONSTRAINT consents_revoked CHECK ((status = 'revoked') = (revoked_at IS NOT NULL) AND (told_at IS NULL OR status = 'revoked')),
    -- None is forgotten: what waits is asked about, and the provider is told of a revocation until it knows.
    CONSTRAINT consents_due CHECK (due_at IS NOT NULL OR status IN ('rejected', 'failed') OR told_at IS NOT NULL)
);
CREATE UNIQUE INDEX consents_provider ON consents (org_id, rail, provider_consent) WHERE provider_consent IS NOT NULL;
CREATE INDEX consents_due_at ON consents (rail, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX consents_of_rail ON consents (org_id, rail, livemode, id);
CALL tenant_table('consents', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL kept('consents');

-- What was asked for stays as it was, and what is over is over for ever.
CREATE FUNCTION consent_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.org_id, NEW.id, NEW.livemode, NEW.rail, NEW.scopes, NEW.max_payment, NEW.max_total, NEW.currency, NEW.requested_by, NEW.created_at)
       IS DISTINCT FROM (OLD.org_id, OLD.id, OLD.livemode, OLD.rail, OLD.scopes, OLD.max_payment, OLD.max_total, OLD.currency, OLD.requested_by, OLD.created_at)
       OR NEW.expires_at > OLD.expires_at OR NEW.provider_consent IS DISTINCT FROM coalesce(OLD.provider_consent, NEW.provider_consent) THEN
        PERFORM refuse('consents_fixed', 'what a consent allows is fixed when it is registered: ask for another one');
    END IF;
    IF OLD.status IN ('rejected', 'failed', 'revoked') AND (NEW.status <> OLD.status OR NEW.revoked_at IS DISTINCT FROM OLD.revoked_at) THEN
        PERFORM refuse('consents_over', 'a consent that was revoked or refused is so for ever');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER consents_fixed BEFORE UPDATE ON consents FOR EACH ROW EXECUTE FUNCTION consent_fixed();

ALTER TABLE payments ADD CONSTRAINT payments_consent FOREIGN KEY (org_id, consent_id, rail, livemode) REFERENCES consents (org_id, id, rail, livemode);
CREATE INDEX payments_by_consent ON payments (org_id, consent_id) WHERE consent_id IS NOT NULL;

-- Why nothing may be done under this consent now, or NULL.
CREATE FUNCTION consent_fault(k consents, p_scope text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN k.id IS NULL THEN 'consent_missing'
                WHEN NOT p_scope = ANY (k.scopes) THEN 'consent_scope'
                WHEN k.status = 'revoked' THEN 'consent_revoked'
                WHEN k.status IN ('rejected', 'failed') THEN 'consent_refused'
                WHEN clock_timestamp() >= k.expires_at THEN 'consent_expired'
                WHEN k.status <> 'authorised' THEN 'consent_pending' END
$$;

-- The consent for something on a rail: the newest that holds; without one, the newest.
CREATE FUNCTION consent_for(p_org uuid, p_rail text, p_livemode boolean, p_scope text) RETURNS consents LANGUAGE sql STABLE AS $$
    SELECT k FROM consents k WHERE k.org_id = p_org AND k.rail = p_rail AND k.livemode = p_livemode AND p_scope = ANY (k.scopes)
    ORDER BY consent_fault(k, p_scope) IS NULL DESC, k.id DESC LIMIT 1
$$;

CREATE FUNCTION needs_consent(p_rail text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT coalesce((SELECT consent FROM platform_states WHERE scope = 'rail' AND name = p_rail), false)
$$;

-- What payments under a consent have used of its total: what has moved, and what may still move.
CREATE FUNCTION consent_used(p_org uuid, p_consent uuid) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(CASE WHEN status IN ('authorized', 'submitted', 'uncertain', 'needs_human') THEN amount ELSE captured END), 0)::bigint
    FROM payments WHERE org_id = p_org AND consent_id = p_consent
$$;

-- What a decision reads of the consent that a payment over this rail needs; NULL where none is needed.
CREATE FUNCTION consent_seen(f payment_facts, p_rail text) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    k consents;
BEGIN
    IF NOT needs_consent(p_rail) THEN
        RETURN NULL;
    END IF;
    k := consent_for(f.org, p_rail, f.livemode, 'payments.initiate');
    RETURN jsonb_build_object('id', wire('cns', k.id), 'code', consent_fault(k, 'payments.initiate'), 'expires_at', utc(k.expires_at),
        'currency', k.currency, 'max_payment', k.max_payment, 'left', k.max_total - consent_used(f.org, k.id));
END $$;

-- The same once the head is ours: NULL when the consent that the record names holds and covers this payment until it has left.
CREATE FUNCTION consent_moved(f payment_facts, d jsonb) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    k consents;
BEGIN
    IF NOT needs_consent(f.rail) THEN
        RETURN CASE WHEN d->>'consent' IS NOT NULL THEN 'consent' END;
    END IF;
    k := consent_for(f.org, f.rail, f.livemode, 'payments.initiate');
    RETURN CASE WHEN consent_fault(k, 'payments.initiate') IS NULL AND wire('cns', k.id) = d->>'consent' AND (d->>'submit_by')::timestamptz <= k.expires_at
                     AND f.currency = k.currency AND f.amount <= k.max_payment AND consent_used(f.org, k.id) + f.amount <= k.max_total THEN NULL ELSE 'consent' END;
END $$;

-- Why a payment that has not left must not leave for its consent's sake, or NULL.
CREATE FUNCTION consent_block(p_org uuid, y payments) RETURNS text LANGUAGE plpgsql STABLE AS $$
DECLARE
    k consents;
BEGIN
    IF NOT needs_consent(y.rail) THEN
        RETURN NULL;
    END IF;
    SELECT * INTO k FROM consents WHERE org_id = p_org AND id = y.consent_id;
    RETURN consent_fault(k, 'payments.initiate');
END $$;

-- kind: consent.registered. Somebody asks for a consent; the provider is asked by whoever holds its credential.
CREATE FUNCTION consent_register(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    p principal;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{consent.registered}');
    p := caller(p_org, p_digest, 'consents:write', c);
    d := c->'data';
    IF NOT needs_consent(d->>'rail') THEN
        PERFORM refuse('consents_for_rail', 'this rail knows no consents');
    END IF;
    IF ((d->>'expires_at')::timestamptz > clock_timestamp()) IS NOT TRUE THEN
        PERFORM refuse('consents_expires_later', 'a consent ends in the future');
    END IF;
    INSERT INTO consents (org_id, id, livemode, rail, scopes, max_payment, max_total, currency, expires_at, requested_by, due_at, entry_id)
    VALUES (p_org, unwire('cns', d->>'id'), p.livemode, d->>'rail', texts(d->'scopes'), (d->>'max_payment')::bigint, (d->>'max_total')::bigint,
            d->>'currency', (d->>'expires_at')::timestamptz, p.actor, clock_timestamp(), unwire('ent', c->>'id'));
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('consent_register(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

-- kind: consent.revoked. At once and for ever; the provider is told afterwards, until it knows.
CREATE FUNCTION consent_revoke(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    p principal;
    k consents;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{consent.revoked}');
    p := caller(p_org, p_digest, 'consents:revoke', c);
    d := c->'data';
    IF coalesce(opened(p_openings, d->>'reason_commit'), '') = '' THEN
        PERFORM refuse('record_shape', 'who revokes says why');
    END IF;
    SELECT * INTO k FROM consents WHERE org_id = p_org AND id = unwire('cns', d->>'id') AND livemode = p.livemode FOR NO KEY UPDATE;
    IF k.id IS NULL OR k.status IN ('rejected', 'failed', 'revoked') THEN
        PERFORM refuse('consents_open', 'there is no such consent, or it is over');
    END IF;
    -- Payments read consents once the head is theirs: each hold stands before this record, or is refused.
    PERFORM head_lock(p_org);
    UPDATE consents SET status = 'revoked', code = 'revoked', revoked_at = clock_timestamp(), revoked_by = p.actor, due_at = clock_timestamp(), checks = 0,
        updated_at = clock_timestamp(), entry_id = unwire('ent', c->>'id') WHERE org_id = p_org AND id = k.id;
    UPDATE rail_accounts SET check_at = clock_timestamp() WHERE org_id = p_org AND rail = k.rail AND livemode = k.livemode;
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('consent_revoke(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

-- Somebody wants to know now: what waits for its holder is asked about at once. Returns when it was asked about last, as a row; null without one.
CREATE FUNCTION consent_ask(p_org uuid, p_digest bytea, p_id uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    p principal;
    k consents;
BEGIN
    PERFORM enter(p_org);
    p := holder(p_org, p_digest, 'consents:read');
    UPDATE consents SET due_at = clock_timestamp()
    WHERE org_id = p_org AND id = p_id AND livemode = p.livemode AND status IN ('requested', 'awaiting_authorisation') RETURNING * INTO k;
    RETURN CASE WHEN k.id IS NOT NULL THEN jsonb_build_object('rail', k.rail, 'checked_at', utc(k.checked_at)) END;
END $$;
CALL definer('consent_ask(uuid,bytea,uuid)', '{codespar_agent,codespar_control}');

-- Which consents the provider is to be asked or told about. Ids only, over all organisations; what is claimed and never told is due again.
CREATE FUNCTION consents_due(p_rail text, p_limit integer) RETURNS TABLE (org uuid, consent uuid) LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_orgs uuid[];
    v_consents uuid[];
BEGIN
    SELECT array_agg(w.org_id), array_agg(w.id) INTO v_orgs, v_consents
    FROM (SELECT k.org_id, k.id FROM consents k WHERE k.rail = p_rail AND k.due_at <= v_now
          ORDER BY k.due_at LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED) w;
    RETURN QUERY
        UPDATE consents k SET due_at = v_now + interval '30 seconds'
        FROM unnest(v_orgs, v_consents) w (org_id, consent)
        WHERE k.org_id = w.org_id AND k.id = w.consent
        RETURNING k.org_id, k.id;
END $$;
CREATE POLICY scanner ON consents TO codespar_scanner USING (true);
GRANT SELECT (org_id, id, rail, due_at), UPDATE (due_at) ON consents TO codespar_scanner;
CALL definer('consents_due(text,integer)', '{codespar_rail}', 'codespar_scanner');

-- When the provider is asked again: soon while somebody waits for the holder, or the provider must be told; else every quarter of an hour.
CREATE FUNCTION consent_next(k consents, p_status text) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN p_status IN ('rejected', 'failed') THEN NULL
                WHEN p_status = 'authorised' AND clock_timestamp() >= k.expires_at THEN 'infinity'::timestamptz
                WHEN p_status = 'authorised' THEN clock_timestamp() + interval '15 minutes'
                ELSE clock_timestamp() + make_interval(secs => least(60, 2 ^ least(k.checks, 6) * 2)) END
$$;

-- Asked, or told in vain, and nothing new.
CREATE FUNCTION consent_same(p_org uuid, p_id uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM enter(p_org);
    UPDATE consents k SET checks = checks + 1, checked_at = clock_timestamp(), due_at = consent_next(k, k.status)
    WHERE org_id = p_org AND id = p_id AND due_at IS NOT NULL;
END $$;
CALL definer('consent_same(uuid,uuid)', '{codespar_rail}');

-- kind: consent.answered. What the provider says of a consent; nothing that it says makes one hold again that is over here.
CREATE FUNCTION consent_answered(p_org uuid, p_content bytea, p_sig bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    k consents;
    v_status text;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{consent.answered}');
    PERFORM system_actor(c);
    d := c->'data';
    v_status := d->>'status';
    SELECT * INTO k FROM consents WHERE org_id = p_org AND id = unwire('cns', d->>'id') AND livemode = (c->>'livemode')::boolean FOR NO KEY UPDATE;
    IF k.status IS DISTINCT FROM d->>'from' THEN
        RETURN jsonb_build_object('moved', 'state');
    END IF;
    IF (d->>'told')::boolean IS TRUE AND v_status IS DISTINCT FROM 'revoked' THEN
        PERFORM refuse('record_shape', 'the provider is told of a revocation');
    END IF;
    UPDATE consents SET status = v_status, code = coalesce(d->>'code', code), provider_consent = coalesce(provider_consent, d->>'provider_consent'),
        address = coalesce(address, d->>'address'), expires_at = least(expires_at, coalesce((d->>'expires_at')::timestamptz, expires_at)),
        revoked_at = CASE WHEN v_status = 'revoked' THEN coalesce(revoked_at, clock_timestamp()) END,
        revoked_by = CASE WHEN v_status = 'revoked' THEN coalesce(revoked_by, c->>'actor') END,
        -- An id that comes after the revocation is one more that the provider must be told about.
        told_at = CASE WHEN (d->>'told')::boolean THEN clock_timestamp() WHEN k.provider_consent IS NOT NULL THEN told_at END,
        due_at = CASE WHEN (d->>'told')::boolean IS NOT TRUE THEN consent_next(k, v_status) END, checks = 0, checked_at = clock_timestamp(),
        updated_at = clock_timestamp(), entry_id = unwire('ent', c->>'id')
    WHERE org_id = p_org AND id = k.id;
    IF v_status <> k.status THEN
        UPDATE rail_accounts SET check_at = clock_timestamp() WHERE org_id = p_org AND rail = k.rail AND livemode = k.livemode;
    END IF;
    RETURN record_append(p_org, p_content, p_sig, c);
END $$;
CALL definer('consent_answered(uuid,bytea,bytea)', '{codespar_rail}');

-- Each look into an account, written down before it is made. What was seen is kept until it was given to who asked, and for a minute at most.
CREATE TABLE consent_reads (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    consent_id uuid NOT NULL,
    livemode boolean NOT NULL,
    rail text NOT NULL,
    resource text NOT NULL,
    account text,
    page integer NOT NULL,
    asked_by text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at timestamptz,
    status text NOT NULL DEFAULT 'asked',
    code text,
    answer jsonb,
    answered_at timestamptz,
    entry_id uuid NOT NULL,
    CONSTRAINT consent_reads_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT consent_reads_of FOREIGN KEY (org_id, consent_id, rail, livemode) REFERENCES consents (org_id, id, rail, livemode),
    CONSTRAINT consent_reads_resource CHECK (resource IN ('accounts', 'balances', 'transactions') AND page >= 1),
    CONSTRAINT consent_reads_status CHECK (status IN ('asked', 'answered', 'refused') AND (status = 'asked') = (due_at IS NOT NULL)),
    CONSTRAINT consent_reads_answer CHECK (answer IS NULL OR status = 'answered')
);
CREATE INDEX consent_reads_due_at ON consent_reads (rail, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX consent_reads_answered ON consent_reads (rail, answered_at) WHERE answer IS NOT NULL;
-- Nobody reads an answer but by the function that gives it to who asked.
CALL tenant_table('consent_reads', '{}');
GRANT SELECT (org_id, id, consent_id, livemode, rail, resource, account, page, asked_by, asked_at, due_at, status, code, answered_at, entry_id)
    ON consent_reads TO codespar_agent, codespar_control, codespar_rail, codespar_auditor;
CALL kept('consent_reads');

-- kind: consent.read. {refused: code} when nothing may be read: nothing was written then, and nothing is sent.
CREATE FUNCTION consent_read_ask(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    p principal;
    k consents;
    v_fault text;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{consent.read}');
    p := caller(p_org, p_digest, 'consents:use', c);
    d := c->'data';
    PERFORM head_lock(p_org);
    SELECT * INTO k FROM consents WHERE org_id = p_org AND id = unwire('cns', d->>'consent') AND livemode = p.livemode;
    v_fault := consent_fault(k, (d->>'resource') || '.read');
    IF v_fault IS NOT NULL THEN
        RETURN jsonb_build_object('refused', v_fault);
    END IF;
    INSERT INTO consent_reads (org_id, id, consent_id, livemode, rail, resource, account, page, asked_by, due_at, entry_id)
    VALUES (p_org, unwire('cnr', d->>'id'), k.id, k.livemode, k.rail, d->>'resource', d->>'account', (d->>'page')::integer, p.actor, clock_timestamp(),
            unwire('ent', c->>'id'));
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('consent_read_ask(uuid,bytea,bytea,bytea,jsonb)', '{codespar_agent,codespar_control}');

-- Reads that are to be made, and answers that nobody came for: those are forgotten.
CREATE FUNCTION consent_reads_due(p_rail text, p_limit integer) RETURNS TABLE (org uuid, reading uuid) LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_orgs uuid[];
    v_reads uuid[];
BEGIN
    UPDATE consent_reads r SET answer = NULL WHERE r.rail = p_rail AND r.answer IS NOT NULL AND r.answered_at < v_now - interval '1 minute';
    SELECT array_agg(w.org_id), array_agg(w.id) INTO v_orgs, v_reads
    FROM (SELECT r.org_id, r.id FROM consent_reads r WHERE r.rail = p_rail AND r.due_at <= v_now
          ORDER BY r.due_at LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED) w;
    RETURN QUERY
        UPDATE consent_reads r SET due_at = v_now + interval '30 seconds'
        FROM unnest(v_orgs, v_reads) w (org_id, reading)
        WHERE r.org_id = w.org_id AND r.id = w.reading
        RETURNING r.org_id, r.id;
END $$;
CREATE POLICY scanner ON consent_reads TO codespar_scanner USING (true);
GRANT SELECT (org_id, id, rail, due_at, answer, answered_at), UPDATE (due_at, answer) ON consent_reads TO codespar_scanner;
CALL definer('consent_reads_due(text,integer)', '{codespar_rail}', 'codespar_scanner');

-- The last look before the first byte: what is to be read under which consent of the provider's, or {refused: code}. Null when it is over.
CREATE FUNCTION consent_read_begin(p_org uuid, p_id uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    r consent_reads;
    k consents;
    v_fault text;
BEGIN
    PERFORM enter(p_org);
    SELECT * INTO r FROM consent_reads WHERE org_id = p_org AND id = p_id AND status = 'asked' FOR NO KEY UPDATE;
    IF r.id IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT * INTO k FROM consents WHERE org_id = p_org AND id = r.consent_id;
    v_fault := coalesce(consent_fault(k, r.resource || '.read'), CASE WHEN r.asked_at < clock_timestamp() - interval '1 minute' THEN 'unavailable' END);
    IF v_fault IS NOT NULL THEN
        UPDATE consent_reads SET status = 'refused', code = v_fault, due_at = NULL, answered_at = clock_timestamp() WHERE org_id = p_org AND id = r.id;
        RETURN jsonb_build_object('refused', v_fault);
    END IF;
    RETURN jsonb_build_object('consent', k.provider_consent, 'rail', r.rail, 'livemode', r.livemode, 'resource', r.resource, 'account', r.account, 'page', r.page);
END $$;
CALL definer('consent_read_begin(uuid,uuid)', '{codespar_rail}');

-- What came of it: an answer, or a code. What was read under a consent that does not hold any more is given to nobody.
CREATE FUNCTION consent_read_done(p_org uuid, p_id uuid, p_code text, p_answer jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    k consents;
    r consent_reads;
    v_code text;
BEGIN
    PERFORM enter(p_org);
    SELECT * INTO r FROM consent_reads WHERE org_id = p_org AND id = p_id AND status = 'asked' FOR NO KEY UPDATE;
    SELECT * INTO k FROM consents WHERE org_id = p_org AND id = r.consent_id;
    v_code := coalesce(consent_fault(k, r.resource || '.read'), p_code);
    UPDATE consent_reads SET status = CASE WHEN v_code IS NULL THEN 'answered' ELSE 'refused' END, code = v_code, due_at = NULL,
        answer = CASE WHEN v_code IS NULL THEN p_answer END, answered_at = clock_timestamp()
    WHERE org_id = p_org AND id = r.id;
END $$;
CALL definer('consent_read_done(uuid,uuid,text,jsonb)', '{codespar_rail}');

-- The answer, for who asked, once: {status, code, answer}.
CREATE FUNCTION consent_read_take(p_org uuid, p_digest bytea, p_id uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    p principal;
    r consent_reads;
BEGIN
    PERFORM enter(p_org);
    p := holder(p_org, p_digest, 'consents:use');
    SELECT * INTO r FROM consent_reads WHERE org_id = p_org AND id = p_id AND asked_by = p.actor AND livemode = p.livemode FOR NO KEY UPDATE;
    UPDATE consent_reads SET answer = NULL WHERE org_id = p_org AND id = r.id AND answer IS NOT NULL;
    RETURN CASE WHEN r.id IS NOT NULL THEN jsonb_build_object('status', r.status, 'code', r.code, 'answer', r.answer) END;
END $$;
CALL definer('consent_read_take(uuid,bytea,uuid)', '{codespar_agent,codespar_control}');

GRANT EXECUTE ON FUNCTION consent_fixed, consent_fault, consent_for, needs_consent, consent_used, consent_seen, consent_moved, consent_block, consent_next
    TO codespar_definer;
