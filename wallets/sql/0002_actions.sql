-- Every write to the books that a person asks for. Idempotency keys are claimed where the money moves, in the same transaction.

CREATE TABLE idempotency_keys (
    org_id uuid NOT NULL,
    principal text NOT NULL,
    operation text NOT NULL,
    key_hash bytea NOT NULL,
    fingerprint bytea NOT NULL,
    subject text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    status integer,
    body bytea,
    frozen_at timestamptz,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (org_id, principal, operation, key_hash),
    CONSTRAINT idempotency_keys_sizes CHECK (octet_length(key_hash) = 32 AND octet_length(fingerprint) = 32),
    CONSTRAINT idempotency_keys_frozen CHECK (num_nonnulls(status, body, frozen_at) IN (0, 3)),
    CONSTRAINT idempotency_keys_status CHECK (status BETWEEN 200 AND 499)
);
CALL tenant_table('idempotency_keys', '{codespar_agent,codespar_control,codespar_auditor}');

-- An answer is frozen once: what was said stays said.
CREATE FUNCTION idempotency_frozen() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.frozen_at IS NOT NULL OR (NEW.org_id, NEW.principal, NEW.operation, NEW.key_hash, NEW.fingerprint, NEW.subject, NEW.created_at)
       IS DISTINCT FROM (OLD.org_id, OLD.principal, OLD.operation, OLD.key_hash, OLD.fingerprint, OLD.subject, OLD.created_at) THEN
        PERFORM refuse('idempotency_keys_frozen_once', 'an answer is frozen once, and its key never changes');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER idempotency_keys_frozen_once BEFORE UPDATE ON idempotency_keys FOR EACH ROW EXECUTE FUNCTION idempotency_frozen();

-- False when somebody was first: the caller reads that row and answers from it.
CREATE FUNCTION idempotency_claim(p_org uuid, p principal, p_operation text, c jsonb, p_subject text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF c #>> '{data,idempotency,key}' IS NULL THEN
        PERFORM refuse('idempotency_key_required', 'what moves money carries an idempotency key');
    END IF;
    INSERT INTO idempotency_keys (org_id, principal, operation, key_hash, fingerprint, subject)
    VALUES (p_org, p.actor, p_operation, decode(c #>> '{data,idempotency,key}', 'hex'),
            decode(c #>> '{data,idempotency,fingerprint}', 'hex'), p_subject)
    ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;

CREATE FUNCTION idempotency_read(p_org uuid, p_digest bytea, p_operation text, p_key_hash bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    p principal;
    k idempotency_keys;
BEGIN
    PERFORM enter(p_org);
    p := principal_of(p_org, p_digest);
    SELECT * INTO k FROM idempotency_keys WHERE org_id = p_org AND principal = p.actor AND operation = p_operation AND key_hash = p_key_hash;
    RETURN CASE WHEN k.org_id IS NOT NULL THEN jsonb_build_object('fingerprint', encode(k.fingerprint, 'hex'), 'subject', k.subject,
        'status', k.status, 'body', encode(k.body, 'base64'), 'created_at', utc(k.created_at),
        'expired', k.created_at < clock_timestamp() - interval '30 days') END;
END $$;
CALL definer('idempotency_read(uuid,bytea,text,bytea)', '{codespar_agent,codespar_control}');

-- Compare-and-swap: the first body wins, and everybody gets the winner's bytes.
CREATE FUNCTION answer_freeze(p_org uuid, p_digest bytea, p_operation text, p_key_hash bytea, p_status integer, p_body bytea)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    p principal;
    k idempotency_keys;
BEGIN
    PERFORM enter(p_org);
    p := principal_of(p_org, p_digest);
    UPDATE idempotency_keys SET status = p_status, body = p_body, frozen_at = clock_timestamp()
    WHERE org_id = p_org AND principal = p.actor AND operation = p_operation AND key_hash = p_key_hash AND frozen_at IS NULL;
    SELECT * INTO k FROM idempotency_keys WHERE org_id = p_org AND principal = p.actor AND operation = p_operation AND key_hash = p_key_hash;
    RETURN CASE WHEN k.org_id IS NOT NULL THEN jsonb_build_object('status', k.status, 'body', encode(k.body, 'base64')) END;
END $$;
CALL definer('answer_freeze(uuid,bytea,text,bytea,integer,bytea)', '{codespar_agent,codespar_control}');

CREATE FUNCTION wallet_create(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
    d jsonb;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{wallet.created}');
    p := caller(p_org, p_digest, 'wallets:write', c);
    d := c->'data';
    PERFORM account_of(p_org, 'main', p.livemode, d->>'currency', NULL, unwire('ent', c->>'id'));
    INSERT INTO accounts (org_id, id, kind, livemode, currency, project_id, agent_id, available, held, entry_id)
    VALUES (p_org, unwire('wal', d->>'id'), 'wallet', p.livemode, d->>'currency', unwire('prj', c->>'project'),
            unwire('agt', d->>'agent'), 0, 0, unwire('ent', c->>'id'));
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('wallet_create(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

-- Main -> wallet ('wallet.funded') and wallet -> main ('wallet.returned').
CREATE FUNCTION wallet_move(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
    d jsonb;
    w accounts;
    m accounts;
    inward boolean;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{wallet.funded,wallet.returned}');
    inward := c->>'kind' = 'wallet.funded';
    p := caller(p_org, p_digest, 'wallets:fund', c);
    d := c->'data';
    SELECT * INTO w FROM accounts WHERE org_id = p_org AND id = unwire('wal', d->>'wallet') AND kind = 'wallet' AND livemode = p.livemode;
    SELECT * INTO m FROM accounts WHERE org_id = p_org AND kind = 'main' AND livemode = p.livemode AND currency = w.currency;
    IF w.id IS NULL OR m.id IS NULL OR d->>'currency' <> w.currency THEN
        PERFORM refuse('accounts_known', 'there is no such wallet in this currency');
    END IF;
    PERFORM books_lock(p_org, ARRAY[w.id, m.id]);
    IF (d->>'amount')::bigint > (SELECT available FROM accounts WHERE org_id = p_org AND id = CASE WHEN inward THEN m.id ELSE w.id END) THEN
        PERFORM refuse('accounts_available', 'the account to take from does not hold that much');
    END IF;
    PERFORM head_lock(p_org);
    IF NOT idempotency_claim(p_org, p, c->>'kind', c, d->>'transfer') THEN
        RETURN jsonb_build_object('twin', true);
    END IF;
    INSERT INTO transfers (org_id, id, kind, debit_id, debit_kind, credit_id, credit_kind, livemode, currency, amount, entry_id)
    SELECT p_org, unwire('tr', d->>'transfer'), CASE WHEN inward THEN 'fund' ELSE 'return_to_main' END,
           CASE WHEN inward THEN m.id ELSE w.id END, CASE WHEN inward THEN 'main' ELSE 'wallet' END,
           CASE WHEN inward THEN w.id ELSE m.id END, CASE WHEN inward THEN 'wallet' ELSE 'main' END,
           w.livemode, w.currency, (d->>'amount')::bigint, unwire('ent', c->>'id');
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('wallet_move(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

-- A provider says that money came in: remembered once, believed only after a query.
CREATE FUNCTION credit_notice(p_org uuid, p_id uuid, p_rail text, p_account text, p_reference text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM enter(p_org);
    INSERT INTO credits (org_id, id, rail, livemode, provider_account, reference)
    SELECT p_org, p_id, r.rail, r.livemode, r.provider_account, p_reference FROM rail_accounts r
    WHERE r.org_id = p_org AND r.rail = p_rail AND r.provider_account = p_account
    -- Not found once, it is asked for again when the rail says again that it is there.
    ON CONFLICT (org_id, provider_account, direction, reference) DO UPDATE SET status = 'pending', checks = 0, due_at = clock_timestamp()
    WHERE credits.status = 'refused';
    RETURN FOUND;
END $$;
CALL definer('credit_notice(uuid,uuid,text,text,text)', '{codespar_rail}');

-- The provider confirmed (or denied) the credit when it was asked: book it once.
CREATE FUNCTION credit_resolve(p_org uuid, p_content bytea, p_sig bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    k credits;
    entry uuid;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{credit.confirmed,credit.refused}');
    PERFORM system_actor(c);
    d := c->'data';
    entry := unwire('ent', c->>'id');
    SELECT * INTO k FROM credits WHERE org_id = p_org AND id = unwire('crd', d->>'id') FOR NO KEY UPDATE;
    IF k.status IS DISTINCT FROM 'pending' OR k.livemode <> (c->>'livemode')::boolean THEN
        RETURN jsonb_build_object('moved', 'credit');
    END IF;
    IF c->>'kind' = 'credit.refused' THEN
        UPDATE credits SET status = 'refused', entry_id = entry WHERE org_id = p_org AND id = k.id;
    ELSE
        UPDATE credits SET status = 'confirmed', amount = (d->>'amount')::bigint, currency = d->>'currency', entry_id = entry
        WHERE org_id = p_org AND id = k.id;
        INSERT INTO transfers (org_id, id, kind, debit_id, debit_kind, credit_id, credit_kind, livemode, currency, amount, entry_id)
        VALUES (p_org, unwire('tr', d->>'transfer'), 'deposit', account_of(p_org, 'external', k.livemode, d->>'currency', k.rail, entry), 'external',
                account_of(p_org, 'main', k.livemode, d->>'currency', NULL, entry), 'main', k.livemode, d->>'currency', (d->>'amount')::bigint, entry);
    END IF;
    RETURN record_append(p_org, p_content, p_sig, c);
END $$;

-- What the engine does by itself is signed by the process that did it, and done for somebody.
CREATE FUNCTION system_actor(c jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(c->>'actor', '') !~ '^system:[a-z]+@.{1,100}$' THEN
        PERFORM refuse('record_actor', 'a process names itself in its records');
    END IF;
END $$;
CALL definer('credit_resolve(uuid,bytea,bytea)', '{codespar_rail}');

CREATE FUNCTION credits_due(p_limit integer, p_rail text) RETURNS TABLE (org uuid, credit uuid) LANGUAGE sql AS $$
    UPDATE credits SET checks = checks + 1, due_at = clock_timestamp() + make_interval(secs => least(60, 2 ^ least(checks, 6)))
    WHERE (org_id, id) IN (SELECT org_id, id FROM credits WHERE rail = p_rail AND status = 'pending' AND due_at <= clock_timestamp()
                           ORDER BY due_at LIMIT p_limit FOR UPDATE SKIP LOCKED)
    RETURNING org_id, id
$$;
CREATE POLICY scanner ON credits TO codespar_scanner USING (true);
GRANT SELECT (org_id, id, rail, status, due_at, checks), UPDATE (checks, due_at) ON credits TO codespar_scanner;
CALL definer('credits_due(integer,text)', '{codespar_rail}', 'codespar_scanner');

GRANT EXECUTE ON FUNCTION idempotency_claim, idempotency_frozen, system_actor TO codespar_definer;
