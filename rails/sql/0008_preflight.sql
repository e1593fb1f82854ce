-- A rail is checked before it carries money, and again and again: what did not pass refuses payments by name of the check.

-- Which accounts are to be checked now. Ids only, over all organisations; what is claimed here and never told is due again in half a minute.
CREATE FUNCTION rail_checks_due(p_rail text, p_limit integer) RETURNS TABLE (org uuid, account uuid) LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_orgs uuid[];
    v_accounts uuid[];
BEGIN
    SELECT array_agg(w.org_id), array_agg(w.id) INTO v_orgs, v_accounts
    FROM (SELECT a.org_id, a.id FROM rail_accounts a WHERE a.rail = p_rail AND a.check_at <= v_now
          ORDER BY a.check_at LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED) w;
    RETURN QUERY
        UPDATE rail_accounts a SET check_at = v_now + interval '30 seconds'
        FROM unnest(v_orgs, v_accounts) w (org_id, account)
        WHERE a.org_id = w.org_id AND a.id = w.account
        RETURNING a.org_id, a.id;
END $$;
CREATE POLICY scanner ON rail_accounts TO codespar_scanner USING (true);
GRANT SELECT (org_id, id, rail, check_at), UPDATE (check_at) ON rail_accounts TO codespar_scanner;
CALL definer('rail_checks_due(text,integer)', '{codespar_rail}', 'codespar_scanner');

-- When an account is checked again: soon, when it did not pass.
CREATE FUNCTION check_again(p_ready boolean) RETURNS interval LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN p_ready THEN interval '15 minutes' ELSE interval '15 seconds' END
$$;
GRANT EXECUTE ON FUNCTION check_again TO codespar_definer;

-- Checked, and everything is as it was.
CREATE FUNCTION rail_account_same(p_org uuid, p_id uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM enter(p_org);
    UPDATE rail_accounts SET checked_at = clock_timestamp(), check_at = clock_timestamp() + check_again(ready)
    WHERE org_id = p_org AND id = p_id AND checked_at IS NOT NULL;
END $$;
CALL definer('rail_account_same(uuid,uuid)', '{codespar_rail}');

-- kind: rail_account.checked. The record decides what the row says, of the credential that it names and no other.
CREATE FUNCTION rail_account_checked(p_org uuid, p_content bytea, p_sig bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{rail_account.checked}');
    PERFORM system_actor(c);
    d := c->'data';
    IF (d->>'ready')::boolean IS DISTINCT FROM NOT EXISTS (SELECT FROM jsonb_array_elements(d->'checks') k WHERE (k->>'ok')::boolean IS NOT TRUE) THEN
        PERFORM refuse('record_shape', 'an account is ready when every check passed');
    END IF;
    UPDATE rail_accounts SET ready = (d->>'ready')::boolean, checks = d->'checks', checked_at = clock_timestamp(),
        failed = (SELECT k->>'name' FROM jsonb_array_elements(d->'checks') WITH ORDINALITY t (k, n) WHERE NOT (k->>'ok')::boolean ORDER BY n LIMIT 1),
        check_at = clock_timestamp() + check_again((d->>'ready')::boolean), entry_id = unwire('ent', c->>'id')
    WHERE org_id = p_org AND id = unwire('key', d->>'id') AND livemode = (c->>'livemode')::boolean
      AND credential_entry = unwire('ent', d->>'credential');
    IF NOT FOUND THEN
        PERFORM refuse('rail_accounts_known', 'there is no such account in this mode, or it has another credential by now');
    END IF;
    RETURN record_append(p_org, p_content, p_sig, c);
END $$;
CALL definer('rail_account_checked(uuid,bytea,bytea)', '{codespar_rail}');

-- kind: rail_account.rotated. What passed the checks was the credential of before: the new one carries no money until it has.
CREATE FUNCTION rail_account_rotate(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb, p_sealed bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    p principal;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{rail_account.rotated}');
    p := caller(p_org, p_digest, 'rails:write', c);
    UPDATE rail_accounts SET sealed = p_sealed, credential_entry = unwire('ent', c->>'id'), ready = false, failed = NULL, checks = '[]',
        checked_at = NULL, check_at = clock_timestamp(), entry_id = unwire('ent', c->>'id')
    WHERE org_id = p_org AND id = unwire('key', c #>> '{data,id}') AND rail = c #>> '{data,rail}' AND livemode = p.livemode;
    IF NOT FOUND THEN
        PERFORM refuse('rail_accounts_known', 'there is no such account in this mode');
    END IF;
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('rail_account_rotate(uuid,bytea,bytea,bytea,jsonb,bytea)', '{codespar_control}');

-- Somebody wants to know now. Returns when it was checked last, as a row; null when there is no such account.
CREATE FUNCTION rail_check_ask(p_org uuid, p_digest bytea, p_id uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    p principal;
    v_rail text;
    v_checked timestamptz;
BEGIN
    PERFORM enter(p_org);
    p := holder(p_org, p_digest, 'rails:write');
    UPDATE rail_accounts SET check_at = clock_timestamp() WHERE org_id = p_org AND id = p_id AND livemode = p.livemode
    RETURNING rail, checked_at INTO v_rail, v_checked;
    RETURN CASE WHEN v_rail IS NOT NULL THEN jsonb_build_object('rail', v_rail, 'checked_at', utc(v_checked)) END;
END $$;
CALL definer('rail_check_ask(uuid,bytea,uuid)', '{codespar_control}');
