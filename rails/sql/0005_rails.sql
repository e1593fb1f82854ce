-- How the rails are: which breakers opened and closed, as whose call saw it.

CREATE TABLE breaker_changes (
    org_id uuid NOT NULL REFERENCES organisations,
    id uuid NOT NULL,
    livemode boolean NOT NULL,
    rail text NOT NULL,
    operation text NOT NULL,
    reason text NOT NULL,
    from_state text NOT NULL,
    to_state text NOT NULL,
    code text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT breaker_changes_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT breaker_changes_reason CHECK (reason IN ('failing', 'invalid')),
    CONSTRAINT breaker_changes_states CHECK (from_state <> to_state AND from_state IN ('closed', 'open', 'half-open') AND to_state IN ('closed', 'open', 'half-open'))
);
CREATE INDEX breaker_changes_at ON breaker_changes (org_id, at);
CALL tenant_table('breaker_changes', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('breaker_changes');

CREATE FUNCTION breaker_change(p_org uuid, p_content bytea, p_sig bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{rail.breaker_changed}');
    PERFORM system_actor(c);
    d := c->'data';
    INSERT INTO breaker_changes (org_id, id, livemode, rail, operation, reason, from_state, to_state, code, entry_id)
    VALUES (p_org, unwire('brk', d->>'id'), (c->>'livemode')::boolean, d->>'rail', d->>'operation', d->>'reason', d->>'from', d->>'to', d->>'code',
            unwire('ent', c->>'id'));
    RETURN record_append(p_org, p_content, p_sig, c);
END $$;
CALL definer('breaker_change(uuid,bytea,bytea)', '{codespar_rail}');
