-- Who: organisation -> project -> agent; members with roles; access tokens. The tenant comes from the token, never from a body.

CREATE TABLE organisations (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    timezone text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at timestamptz,
    entry_id uuid NOT NULL,
    CONSTRAINT organisations_name CHECK (name <> '')
);
CALL tenant_table('organisations', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}', 'id');

CREATE TABLE projects (
    org_id uuid NOT NULL REFERENCES organisations,
    id uuid NOT NULL,
    name text NOT NULL,
    livemode boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at timestamptz,
    entry_id uuid NOT NULL,
    CONSTRAINT projects_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT projects_livemode UNIQUE (org_id, id, livemode),
    CONSTRAINT projects_name UNIQUE (org_id, livemode, name)
);
CALL tenant_table('projects', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');

CREATE TABLE agents (
    org_id uuid NOT NULL,
    project_id uuid NOT NULL,
    id uuid NOT NULL,
    livemode boolean NOT NULL,
    name text NOT NULL,
    public_jwk jsonb NOT NULL,
    thumbprint text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at timestamptz,
    entry_id uuid NOT NULL,
    CONSTRAINT agents_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT agents_project UNIQUE (org_id, project_id, id),
    CONSTRAINT agents_livemode UNIQUE (org_id, id, livemode),
    CONSTRAINT agents_name UNIQUE (org_id, project_id, name),
    CONSTRAINT agents_key UNIQUE (org_id, thumbprint),
    CONSTRAINT agents_of_project FOREIGN KEY (org_id, project_id, livemode) REFERENCES projects (org_id, id, livemode),
    CONSTRAINT agents_public_key CHECK (public_jwk->>'kty' = 'EC' AND public_jwk->>'crv' = 'P-256' AND NOT public_jwk ? 'd')
);
CALL tenant_table('agents', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');

-- role -> scope, filled from the code's one matrix and compared with it by a test.
CREATE TABLE role_scopes (role text NOT NULL, scope text NOT NULL, PRIMARY KEY (role, scope));
GRANT SELECT ON role_scopes TO codespar_definer, codespar_agent, codespar_control, codespar_rail, codespar_auditor;

CREATE TABLE members (
    org_id uuid NOT NULL REFERENCES organisations,
    id uuid NOT NULL,
    email text NOT NULL,
    name text NOT NULL,
    roles text[] NOT NULL,
    password text NOT NULL DEFAULT '!',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at timestamptz,
    entry_id uuid NOT NULL,
    CONSTRAINT members_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT members_email UNIQUE (org_id, email),
    CONSTRAINT members_roles CHECK (cardinality(roles) > 0 AND roles <@ '{owner,finance,operator,oncall,auditor}'),
    CONSTRAINT members_email_lower CHECK (email = lower(email) AND position('@' IN email) > 1)
);
CALL tenant_table('members', '{codespar_control,codespar_auditor}');

-- A member's one-time-password device; the secret is sealed like every other.
CREATE TABLE member_devices (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    member_id uuid NOT NULL,
    name text NOT NULL,
    sealed bytea NOT NULL,
    last_step bigint NOT NULL DEFAULT -1,
    failures integer NOT NULL DEFAULT 0,
    failed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT member_devices_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT member_devices_member FOREIGN KEY (org_id, member_id) REFERENCES members
);
CALL tenant_table('member_devices', '{codespar_control}');
GRANT UPDATE (last_step, failures, failed_at) ON member_devices TO codespar_control;

CREATE TABLE access_tokens (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    agent_id uuid,
    member_id uuid,
    livemode boolean NOT NULL,
    name text NOT NULL,
    scopes text[] NOT NULL,
    digest bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    last_used_at timestamptz,
    rotated_from uuid,
    entry_id uuid NOT NULL,
    CONSTRAINT access_tokens_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT access_tokens_digest UNIQUE (org_id, digest),
    CONSTRAINT access_tokens_principal CHECK (num_nonnulls(agent_id, member_id) = 1),
    CONSTRAINT access_tokens_agent FOREIGN KEY (org_id, agent_id, livemode) REFERENCES agents (org_id, id, livemode),
    CONSTRAINT access_tokens_member FOREIGN KEY (org_id, member_id) REFERENCES members,
    CONSTRAINT access_tokens_scopes CHECK (cardinality(scopes) > 0),
    CONSTRAINT access_tokens_digest_size CHECK (octet_length(digest) = 32)
);
CALL tenant_table('access_tokens', '{}');
GRANT SELECT (org_id, id, agent_id, member_id, livemode, name, scopes, created_at, expires_at, revoked_at, last_used_at, rotated_from, entry_id)
    ON access_tokens TO codespar_control, codespar_auditor;

CREATE TYPE principal AS (
    token_id uuid, agent_id uuid, member_id uuid, project_id uuid, livemode boolean, scopes text[], actor text, expires_at timestamptz
);

-- p_digest = SHA-256(token); the row keeps SHA-256(p_digest), so what is stored opens nothing.
CREATE FUNCTION principal_of(p_org uuid, p_digest bytea) RETURNS principal LANGUAGE plpgsql STABLE AS $$
DECLARE
    p principal;
BEGIN
    SELECT t.id, t.agent_id, t.member_id, a.project_id, t.livemode,
           ARRAY(SELECT DISTINCT s.scope FROM role_scopes s
                 WHERE s.scope = ANY (t.scopes) AND s.role = ANY (CASE WHEN t.agent_id IS NULL THEN m.roles ELSE '{agent}' END)),
           coalesce(wire('agt', t.agent_id), wire('mem', t.member_id)), t.expires_at
    INTO p
    FROM access_tokens t
    JOIN organisations o ON o.id = t.org_id AND o.closed_at IS NULL
    LEFT JOIN agents a ON a.org_id = t.org_id AND a.id = t.agent_id
    LEFT JOIN projects j ON j.org_id = a.org_id AND j.id = a.project_id
    LEFT JOIN members m ON m.org_id = t.org_id AND m.id = t.member_id
    WHERE t.org_id = p_org AND t.digest = sha256(p_digest) AND t.revoked_at IS NULL AND t.expires_at > clock_timestamp()
      AND a.closed_at IS NULL AND j.closed_at IS NULL AND m.closed_at IS NULL;
    RETURN p;
END $$;

-- Whoever holds this token, which is live and has the scope.
CREATE FUNCTION holder(p_org uuid, p_digest bytea, p_scope text) RETURNS principal LANGUAGE plpgsql AS $$
DECLARE
    p principal := principal_of(p_org, p_digest);
BEGIN
    IF p.token_id IS NULL THEN
        PERFORM refuse('access_tokens_valid', 'the token is unknown, expired or revoked');
    END IF;
    IF p_scope IS NOT NULL AND NOT p_scope = ANY (p.scopes) THEN
        PERFORM refuse('access_tokens_scope', format('the token lacks the scope %s', p_scope));
    END IF;
    RETURN p;
END $$;

-- The one door of every people's and agents' function: authenticates, checks the scope, and that the record names the caller.
CREATE FUNCTION caller(p_org uuid, p_digest bytea, p_scope text, c jsonb) RETURNS principal LANGUAGE plpgsql AS $$
DECLARE
    p principal := holder(p_org, p_digest, p_scope);
BEGIN
    IF c->>'actor' IS DISTINCT FROM p.actor OR (c->>'livemode')::boolean IS DISTINCT FROM p.livemode THEN
        PERFORM refuse('record_actor', 'the record names somebody else than the token''s holder, or the other mode');
    END IF;
    RETURN p;
END $$;

CREATE FUNCTION authenticate(p_org uuid, p_digest bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    p principal;
BEGIN
    PERFORM enter(p_org);
    p := principal_of(p_org, p_digest);
    IF p.token_id IS NULL THEN
        RETURN NULL;
    END IF;
    -- Once a minute is exact enough for people, and keeps a busy token from becoming a hot row.
    UPDATE access_tokens SET last_used_at = clock_timestamp()
    WHERE org_id = p_org AND id = p.token_id AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute');
    RETURN to_jsonb(p);
END $$;
CALL definer('authenticate(uuid,bytea)', '{codespar_agent,codespar_control}');

-- A log-in form knows no tenant yet: ids only.
CREATE FUNCTION members_by_email(p_email text) RETURNS TABLE (org uuid, member uuid) LANGUAGE sql STABLE AS $$
    SELECT org_id, id FROM members WHERE email = lower(p_email) AND closed_at IS NULL ORDER BY org_id LIMIT 20
$$;
CREATE FUNCTION member_org(p_member uuid) RETURNS uuid LANGUAGE sql STABLE AS $$
    SELECT org_id FROM members WHERE id = p_member AND closed_at IS NULL
$$;
CREATE POLICY scanner ON members FOR SELECT TO codespar_scanner USING (true);
GRANT SELECT (org_id, id, email, closed_at) ON members TO codespar_scanner;
CALL definer('members_by_email(text)', '{codespar_control}', 'codespar_scanner');
CALL definer('member_org(uuid)', '{codespar_control}', 'codespar_scanner');

GRANT EXECUTE ON FUNCTION principal_of, holder, caller TO codespar_definer;
