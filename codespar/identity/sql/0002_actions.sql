-- Every write of identity: one function a verb, each leaves one record.

CREATE FUNCTION token_add(p_org uuid, c jsonb, t jsonb, p_livemode boolean, p_rotated uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    agent uuid := CASE WHEN t->>'holder' LIKE 'agt_%' THEN unwire('agt', t->>'holder') END;
    member uuid := CASE WHEN t->>'holder' LIKE 'mem_%' THEN unwire('mem', t->>'holder') END;
    stray text;
BEGIN
    SELECT s INTO stray FROM unnest(texts(t->'scopes')) s
    WHERE NOT EXISTS (SELECT FROM role_scopes r WHERE r.scope = s AND (r.role = 'agent') = (agent IS NOT NULL)) LIMIT 1;
    IF stray IS NOT NULL THEN
        PERFORM refuse('access_tokens_scopes', format('the scope %s is not one that this holder can have', stray));
    END IF;
    IF agent IS NOT NULL AND NOT EXISTS (SELECT FROM agents WHERE org_id = p_org AND id = agent AND closed_at IS NULL)
       OR member IS NOT NULL AND NOT EXISTS (SELECT FROM members WHERE org_id = p_org AND id = member AND closed_at IS NULL) THEN
        PERFORM refuse('access_tokens_holder', 'there is no such holder, or the holder is closed');
    END IF;
    IF (t->>'expires_at')::timestamptz <= clock_timestamp() THEN
        PERFORM refuse('access_tokens_expiry', 'a token expires in the future');
    END IF;
    INSERT INTO access_tokens (org_id, id, agent_id, member_id, livemode, name, scopes, digest, expires_at, rotated_from, entry_id)
    VALUES (p_org, unwire('tok', t->>'id'), agent, member, p_livemode, t->>'name', texts(t->'scopes'),
            decode(t->>'digest', 'hex'), (t->>'expires_at')::timestamptz, p_rotated, unwire('ent', c->>'id'));
END $$;

CREATE FUNCTION organisation_create(p_org uuid, p_content bytea, p_sig bytea, p_openings jsonb, p_sealed jsonb)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    person jsonb;
    k jsonb;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{organisation.created}');
    d := c->'data';
    IF c->>'actor' <> d #>> '{member,id}' THEN
        PERFORM refuse('record_actor', 'an organisation is created by its first owner');
    END IF;
    INSERT INTO organisations (id, name, timezone, entry_id)
    SELECT p_org, d #>> '{organisation,name}', z.name, unwire('ent', c->>'id')
    FROM pg_timezone_names z WHERE z.name = d #>> '{organisation,timezone}';
    IF NOT FOUND THEN
        PERFORM refuse('organisations_timezone', 'the time zone is not one that the database knows');
    END IF;
    INSERT INTO ledger_heads (org_id, seq, hash) VALUES (p_org, 0, ledger_genesis(p_org));
    FOR k IN SELECT * FROM jsonb_array_elements(d->'keys') LOOP
        INSERT INTO private_keys (org_id, id, kid, purpose, public_jwk, sealed)
        VALUES (p_org, unwire('key', k->>'id'), k->>'kid', k->>'purpose', k->'jwk', decode(p_sealed->>(k->>'kid'), 'base64'));
    END LOOP;
    person := opened(p_openings, d #>> '{member,commit}')::jsonb;
    INSERT INTO members (org_id, id, email, name, roles, entry_id)
    VALUES (p_org, unwire('mem', d #>> '{member,id}'), person->>'email', person->>'name', '{owner}', unwire('ent', c->>'id'));
    PERFORM token_add(p_org, c, t, (t->>'livemode')::boolean, NULL) FROM jsonb_array_elements(d->'tokens') t;
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('organisation_create(uuid,bytea,bytea,jsonb,jsonb)', '{codespar_control}');

CREATE FUNCTION project_create(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{project.created}');
    p := caller(p_org, p_digest, 'projects:write', c);
    INSERT INTO projects (org_id, id, name, livemode, entry_id)
    VALUES (p_org, unwire('prj', c #>> '{data,id}'), c #>> '{data,name}', p.livemode, unwire('ent', c->>'id'));
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('project_create(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

CREATE FUNCTION agent_create(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{agent.created}');
    p := caller(p_org, p_digest, 'agents:write', c);
    INSERT INTO agents (org_id, project_id, id, livemode, name, public_jwk, thumbprint, entry_id)
    VALUES (p_org, unwire('prj', c->>'project'), unwire('agt', c #>> '{data,id}'), p.livemode, c #>> '{data,name}',
            c #> '{data,public_jwk}', c #>> '{data,thumbprint}', unwire('ent', c->>'id'));
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('agent_create(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

CREATE FUNCTION member_create(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
    person jsonb;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{member.created}');
    p := caller(p_org, p_digest, 'members:write', c);
    person := opened(p_openings, c #>> '{data,commit}')::jsonb;
    INSERT INTO members (org_id, id, email, name, roles, entry_id)
    VALUES (p_org, unwire('mem', c #>> '{data,id}'), person->>'email', person->>'name', texts(c #> '{data,roles}'), unwire('ent', c->>'id'));
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('member_create(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

-- Members are the same in both modes. What is done to one who acts in live is done in live: a test token reaches nothing there.
CREATE FUNCTION member_mode(p_org uuid, p principal, p_member uuid) RETURNS void LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF NOT p.livemode AND EXISTS (SELECT FROM access_tokens WHERE org_id = p_org AND member_id = p_member AND livemode
                                  AND revoked_at IS NULL AND expires_at > clock_timestamp()) THEN
        PERFORM refuse('members_mode', 'the member holds a live token: only a live token changes that member');
    END IF;
END $$;

-- Changes a member's roles, or closes the member and ends the tokens in the same breath.
CREATE FUNCTION member_change(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
    member uuid;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{member.roles_changed,member.closed}');
    p := caller(p_org, p_digest, 'members:write', c);
    member := unwire('mem', c #>> '{data,id}');
    IF member = p.member_id THEN
        PERFORM refuse('members_not_self', 'nobody changes their own roles: another owner does');
    END IF;
    PERFORM member_mode(p_org, p, member);
    IF c->>'kind' = 'member.closed' THEN
        UPDATE members SET closed_at = clock_timestamp(), entry_id = unwire('ent', c->>'id')
        WHERE org_id = p_org AND id = member AND closed_at IS NULL;
    ELSE
        UPDATE members SET roles = texts(c #> '{data,roles}'), entry_id = unwire('ent', c->>'id')
        WHERE org_id = p_org AND id = member AND closed_at IS NULL;
    END IF;
    IF NOT FOUND THEN
        PERFORM refuse('members_open', 'there is no such member, or the member is closed');
    END IF;
    IF c->>'kind' = 'member.closed' THEN
        UPDATE access_tokens SET revoked_at = clock_timestamp() WHERE org_id = p_org AND member_id = member AND revoked_at IS NULL;
    END IF;
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('member_change(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

-- The console log-in of a member: password hash and one-time-password device. The record holds digests only.
CREATE FUNCTION member_login_set(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb, p_password text, p_device bytea)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
    member uuid;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{member.login_set}');
    p := caller(p_org, p_digest, 'members:write', c);
    member := unwire('mem', c #>> '{data,id}');
    IF encode(sha256(convert_to(p_password, 'UTF8')), 'hex') IS DISTINCT FROM c #>> '{data,password_sha256}'
       OR encode(sha256(p_device), 'hex') IS DISTINCT FROM c #>> '{data,device_sha256}' THEN
        PERFORM refuse('record_shape', 'the log-in is not the one that the record names');
    END IF;
    PERFORM member_mode(p_org, p, member);
    UPDATE members SET password = p_password WHERE org_id = p_org AND id = member AND closed_at IS NULL;
    IF NOT FOUND THEN
        PERFORM refuse('members_open', 'there is no such member, or the member is closed');
    END IF;
    DELETE FROM member_devices WHERE org_id = p_org AND member_id = member;
    INSERT INTO member_devices (org_id, id, member_id, name, sealed)
    VALUES (p_org, unwire('key', c #>> '{data,device}'), member, 'authenticator', p_device);
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
GRANT DELETE ON member_devices TO codespar_definer;
CALL definer('member_login_set(uuid,bytea,bytea,bytea,jsonb,text,bytea)', '{codespar_control}');

CREATE FUNCTION token_create(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
    t jsonb;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{token.created}');
    p := caller(p_org, p_digest, 'tokens:write', c);
    t := c #> '{data,token}';
    -- Agents' tokens are an operator's work; a member's only the member's own, with no more than the token at hand can do, or an owner's.
    IF t->>'holder' LIKE 'mem_%' AND NOT 'members:write' = ANY (p.scopes)
       AND NOT (t->>'holder' = p.actor AND texts(t->'scopes') <@ p.scopes) THEN
        PERFORM refuse('access_tokens_grant', 'only an owner gives another member a token, or one that can do more than this token');
    END IF;
    IF t->>'holder' LIKE 'agt_%' AND NOT 'agents:write' = ANY (p.scopes) THEN
        PERFORM refuse('access_tokens_grant', 'giving an agent a token needs the scope agents:write');
    END IF;
    -- A test token makes test tokens: nothing climbs from test to live.
    PERFORM token_add(p_org, c, t, p.livemode, NULL);
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('token_create(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

-- A new token with the old one's holder and scopes; the old one lives until `overlap_until`, never longer than it would have.
CREATE FUNCTION token_rotate(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
    t jsonb;
    old access_tokens;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{token.rotated}');
    p := caller(p_org, p_digest, 'tokens:write', c);
    t := c #> '{data,token}';
    SELECT * INTO old FROM access_tokens
    WHERE org_id = p_org AND id = unwire('tok', c #>> '{data,old}') AND revoked_at IS NULL AND expires_at > clock_timestamp()
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse('access_tokens_live', 'there is no such token, or it has ended');
    END IF;
    IF old.livemode <> p.livemode OR t->>'holder' <> coalesce(wire('agt', old.agent_id), wire('mem', old.member_id))
       OR NOT texts(t->'scopes') <@ old.scopes THEN
        PERFORM refuse('access_tokens_rotation', 'a rotation keeps the holder and mode, and adds no scope');
    END IF;
    IF NOT ((old.member_id = p.member_id AND old.scopes <@ p.scopes) OR (old.agent_id IS NOT NULL AND 'agents:write' = ANY (p.scopes))
            OR 'members:write' = ANY (p.scopes)) THEN
        PERFORM refuse('access_tokens_grant', 'this token cannot rotate that one');
    END IF;
    PERFORM token_add(p_org, c, t, old.livemode, old.id);
    UPDATE access_tokens SET expires_at = least(expires_at, (c #>> '{data,overlap_until}')::timestamptz)
    WHERE org_id = p_org AND id = old.id;
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('token_rotate(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

CREATE FUNCTION token_revoke(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{token.revoked}');
    p := caller(p_org, p_digest, 'tokens:write', c);
    UPDATE access_tokens SET revoked_at = clock_timestamp()
    WHERE org_id = p_org AND id = unwire('tok', c #>> '{data,id}') AND revoked_at IS NULL AND livemode = p.livemode
      AND (member_id = p.member_id OR (agent_id IS NOT NULL AND 'agents:write' = ANY (p.scopes)) OR 'members:write' = ANY (p.scopes));
    IF NOT FOUND THEN
        PERFORM refuse('access_tokens_live', 'there is no such token for this caller, or it has ended');
    END IF;
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('token_revoke(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

-- A provider account of this organisation: the credential arrives sealed, and only the rail's role can read it back.
CREATE FUNCTION rail_account_add(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb, p_sealed bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
    d jsonb;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{rail_account.added}');
    p := caller(p_org, p_digest, 'rails:write', c);
    d := c->'data';
    IF NOT EXISTS (SELECT FROM platform_states WHERE scope = 'rail' AND name = d->>'rail') THEN
        PERFORM refuse('rail_accounts_rail', 'there is no such rail');
    END IF;
    INSERT INTO provider_accounts (rail, provider_account, org_id) VALUES (d->>'rail', d->>'provider_account', p_org) ON CONFLICT DO NOTHING;
    IF NOT FOUND AND NOT EXISTS (SELECT FROM provider_accounts WHERE rail = d->>'rail' AND provider_account = d->>'provider_account' AND org_id = p_org) THEN
        PERFORM refuse('provider_accounts_one_organisation', 'this provider account belongs to another organisation');
    END IF;
    INSERT INTO rail_accounts (org_id, id, rail, livemode, provider_account, sealed, credential_entry, entry_id)
    VALUES (p_org, unwire('key', d->>'id'), d->>'rail', p.livemode, d->>'provider_account', p_sealed, unwire('ent', c->>'id'), unwire('ent', c->>'id'));
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('rail_account_add(uuid,bytea,bytea,bytea,jsonb,bytea)', '{codespar_control}');

-- Somebody asked for what is not theirs: nothing changes, and it is written down where they belong.
CREATE FUNCTION access_refused(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{access.refused}');
    p := caller(p_org, p_digest, NULL, c);
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('access_refused(uuid,bytea,bytea,bytea,jsonb)', '{codespar_agent,codespar_control}');

-- Somebody takes a copy of the chain. The record comes first: what follows only reads.
CREATE FUNCTION ledger_export(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{ledger.exported}');
    p := caller(p_org, p_digest, 'ledger:export', c);
    IF NOT coalesce(1 <= (c #>> '{data,first_seq}')::bigint AND (c #>> '{data,first_seq}')::bigint <= (c #>> '{data,last_seq}')::bigint
                    AND (c #>> '{data,last_seq}')::bigint <= (SELECT seq FROM ledger_heads WHERE org_id = p_org), false) THEN
        PERFORM refuse('ledger_exports_range', 'the chain has no such range of entries');
    END IF;
    -- A test token takes no text of a live record away.
    IF (c #>> '{data,openings}' IN ('none', CASE WHEN p.livemode THEN 'all' ELSE 'test' END)) IS NOT TRUE THEN
        PERFORM refuse('ledger_exports_openings', 'the record names openings that this token does not see');
    END IF;
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('ledger_export(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

GRANT EXECUTE ON FUNCTION token_add, member_mode TO codespar_definer;
