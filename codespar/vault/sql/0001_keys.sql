-- Private keys, sealed under the master key and bound to their organisation, kind and key id.

CREATE TABLE private_keys (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    kid text NOT NULL,
    purpose text NOT NULL,
    public_jwk jsonb NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    retired_at timestamptz,
    CONSTRAINT private_keys_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT private_keys_kid UNIQUE (org_id, kid),
    CONSTRAINT private_keys_purpose CHECK (purpose IN ('ledger', 'mandate')),
    CONSTRAINT private_keys_public CHECK (NOT public_jwk ? 'd' AND public_jwk->>'kid' = kid)
);
CREATE UNIQUE INDEX private_keys_current ON private_keys (org_id, purpose) WHERE retired_at IS NULL;
CALL tenant_table('private_keys', '{codespar_control}');
-- The agents' and the rail's processes sign records and verify mandates; only the console issues mandates.
GRANT SELECT ON private_keys TO codespar_rail, codespar_agent;
CREATE POLICY records_only ON private_keys AS RESTRICTIVE FOR SELECT TO codespar_rail, codespar_agent USING (purpose = 'ledger');

-- What a provider gave us to act for one organisation. One provider account belongs to one organisation, for ever.
CREATE TABLE rail_accounts (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    rail text NOT NULL,
    livemode boolean NOT NULL,
    provider_account text NOT NULL,
    sealed bytea NOT NULL,
    -- The record that brought the credential: a check speaks of one credential.
    credential_entry uuid NOT NULL,
    -- Whether it carries money: what the last preflight check said, and which of its checks failed first. Never checked is not ready.
    ready boolean NOT NULL DEFAULT false,
    failed text,
    checks jsonb NOT NULL DEFAULT '[]',
    checked_at timestamptz,
    check_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT rail_accounts_ready CHECK (NOT ready OR (failed IS NULL AND checked_at IS NOT NULL)),
    CONSTRAINT rail_accounts_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT rail_accounts_one UNIQUE (org_id, rail, livemode),
    CONSTRAINT rail_accounts_account UNIQUE (org_id, rail, provider_account)
);
CALL tenant_table('rail_accounts', '{codespar_rail}');
GRANT SELECT (org_id, id, rail, livemode, provider_account, ready, failed, checks, checked_at, created_at, entry_id, credential_entry) ON rail_accounts TO codespar_control, codespar_auditor, codespar_agent;

-- Not a tenant's table: it says which tenant a provider's account belongs to. Nobody reads it but the function that claims.
CREATE TABLE provider_accounts (
    rail text NOT NULL,
    provider_account text NOT NULL,
    org_id uuid NOT NULL,
    CONSTRAINT provider_accounts_pkey PRIMARY KEY (rail, provider_account)
);
GRANT SELECT, INSERT ON provider_accounts TO codespar_definer;
CALL append_only('provider_accounts');

CREATE POLICY scanner ON private_keys FOR SELECT TO codespar_scanner USING (true);
GRANT SELECT (org_id, kid, purpose, public_jwk, created_at, retired_at) ON private_keys TO codespar_scanner;

CREATE FUNCTION public_keys(p_org uuid DEFAULT NULL)
RETURNS TABLE (org uuid, kid text, purpose text, jwk jsonb, created timestamptz, retired timestamptz) LANGUAGE sql STABLE AS $$
    SELECT org_id, k.kid, k.purpose, public_jwk, created_at, retired_at FROM private_keys k
    WHERE p_org IS NULL OR org_id = p_org ORDER BY created_at, k.kid
$$;
CALL definer('public_keys(uuid)', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}', 'codespar_scanner');

-- The master key changed: the same secret under a new wrapping. The kid and the public half stay.
CREATE FUNCTION secret_rewrap(p_org uuid, p_table text, p_id uuid, p_old bytea, p_new bytea) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM enter(p_org);
    IF (p_table IN ('rail_accounts', 'webhook_secrets')) <> (session_user = 'codespar_rail') THEN
        PERFORM refuse('secret_rewrap_table', 'each role wraps only the secrets that it may open');
    END IF;
    IF p_table = 'private_keys' THEN
        UPDATE private_keys SET sealed = p_new WHERE org_id = p_org AND id = p_id AND sealed = p_old;
    ELSIF p_table = 'rail_accounts' THEN
        UPDATE rail_accounts SET sealed = p_new WHERE org_id = p_org AND id = p_id AND sealed = p_old;
    ELSIF p_table = 'webhook_secrets' THEN
        UPDATE webhook_secrets SET sealed = p_new WHERE org_id = p_org AND id = p_id AND sealed = p_old;
    ELSIF p_table = 'member_devices' THEN
        UPDATE member_devices SET sealed = p_new WHERE org_id = p_org AND id = p_id AND sealed = p_old;
    ELSE
        PERFORM refuse('secret_rewrap_table', 'no secrets are kept there');
    END IF;
    RETURN FOUND;
END $$;
CALL definer('secret_rewrap(uuid,text,uuid,bytea,bytea)', '{codespar_control,codespar_rail}');
