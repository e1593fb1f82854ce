-- One chain an organisation. The hash is computed here, from the bytes that are stored; order is seq and nothing else.

CREATE TABLE deployment (
    one boolean PRIMARY KEY DEFAULT true,
    name text NOT NULL,
    -- The organisation of those who run this deployment: its people stop rails and the platform. Named once.
    platform_org uuid,
    CONSTRAINT deployment_one CHECK (one),
    CONSTRAINT deployment_name CHECK (name ~ '^[a-z0-9]([a-z0-9.-]{0,60}[a-z0-9])?$')
);
GRANT SELECT ON deployment TO codespar_definer, codespar_agent, codespar_control, codespar_rail, codespar_auditor;

CREATE FUNCTION platform_named() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.platform_org IS NOT NULL OR NEW.name <> OLD.name THEN
        PERFORM refuse('deployment_named_once', 'a deployment has its name, and its platform organisation, for ever');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER deployment_named_once BEFORE UPDATE ON deployment FOR EACH ROW EXECUTE FUNCTION platform_named();

CREATE TABLE ledger_kinds (kind text PRIMARY KEY);
GRANT SELECT ON ledger_kinds TO codespar_definer, codespar_auditor;

CREATE TABLE ledger_entries (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL,
    at timestamptz NOT NULL,
    appended_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    kid text NOT NULL,
    prev bytea NOT NULL,
    hash bytea NOT NULL,
    content bytea NOT NULL,
    sig bytea NOT NULL,
    leaf bytea NOT NULL,
    CONSTRAINT ledger_entries_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT ledger_entries_seq UNIQUE (org_id, seq),
    CONSTRAINT ledger_entries_prev UNIQUE (org_id, prev),
    CONSTRAINT ledger_entries_kind FOREIGN KEY (kind) REFERENCES ledger_kinds,
    CONSTRAINT ledger_entries_positive CHECK (seq >= 1),
    CONSTRAINT ledger_entries_sizes CHECK (octet_length(prev) = 32 AND octet_length(hash) = 32 AND octet_length(sig) = 64
                                           AND octet_length(content) <= 262144),
    CONSTRAINT ledger_entries_leaf CHECK (hash = sha256('\x00'::bytea || leaf))
);
CALL tenant_table('ledger_entries', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('ledger_entries');

CREATE TABLE ledger_heads (
    org_id uuid PRIMARY KEY,
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT ledger_heads_sizes CHECK (seq >= 0 AND octet_length(hash) = 32)
);
CALL tenant_table('ledger_heads', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');

-- A chain only grows by one: even the functions' owner cannot move a head anywhere else.
CREATE FUNCTION ledger_head_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.seq <> OLD.seq + 1 OR NEW.org_id <> OLD.org_id THEN
        PERFORM refuse('ledger_heads_grow', 'a head moves forward by one entry, and never away');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ledger_heads_grow BEFORE UPDATE OR DELETE ON ledger_heads FOR EACH ROW EXECUTE FUNCTION ledger_head_grows();
CALL kept('ledger_heads');

-- A database that was set back to an older copy: chains that end before what a checkpoint outside of it has seen. Until somebody has
-- confirmed each of them, nothing is written to any chain, and so nothing happens. No tenant's table: one chain set back stops all.
CREATE TABLE ledger_rewinds (
    org_id uuid NOT NULL,
    generation integer NOT NULL,
    sealed bigint NOT NULL,
    size bigint NOT NULL,
    noticed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid,
    CONSTRAINT ledger_rewinds_pkey PRIMARY KEY (org_id, generation),
    CONSTRAINT ledger_rewinds_behind CHECK (sealed < size AND generation >= 1)
);
GRANT SELECT ON ledger_rewinds TO codespar_definer, codespar_scanner, codespar_agent, codespar_control, codespar_rail, codespar_auditor;
GRANT INSERT, UPDATE ON ledger_rewinds TO codespar_definer;
CALL kept('ledger_rewinds');

-- Values that a record only commits to: erasable, one row a commitment.
CREATE TABLE ledger_openings (
    org_id uuid NOT NULL,
    commit bytea NOT NULL,
    entry_id uuid NOT NULL,
    salt bytea NOT NULL,
    value bytea NOT NULL,
    CONSTRAINT ledger_openings_pkey PRIMARY KEY (org_id, commit),
    CONSTRAINT ledger_openings_salt CHECK (octet_length(salt) = 32),
    CONSTRAINT ledger_openings_commit CHECK (commit = sha256(salt || value))
);
CREATE INDEX ledger_openings_entry ON ledger_openings (org_id, entry_id);
CALL tenant_table('ledger_openings', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('ledger_openings');
-- An agent's process shows the texts of payments, and has no business with people's names.
CREATE POLICY payments_only ON ledger_openings AS RESTRICTIVE FOR SELECT TO codespar_agent
    USING (EXISTS (SELECT FROM ledger_entries e WHERE e.org_id = ledger_openings.org_id AND e.id = ledger_openings.entry_id AND e.kind LIKE 'payment.%'));

-- Checkpoints (C2SP tlog-checkpoint) as they left this database; the copies outside it are what a superuser cannot reach.
CREATE TABLE ledger_checkpoints (
    org_id uuid NOT NULL,
    size bigint NOT NULL,
    root bytea NOT NULL,
    frontier text[] NOT NULL,
    note text NOT NULL,
    -- Each time a chain was set back its log is named anew: 0 at first.
    generation integer NOT NULL,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT ledger_checkpoints_pkey PRIMARY KEY (org_id, size),
    CONSTRAINT ledger_checkpoints_size CHECK (size >= 1)
);
CALL tenant_table('ledger_checkpoints', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('ledger_checkpoints');

CREATE FUNCTION ledger_genesis(p_org uuid) RETURNS bytea LANGUAGE sql IMMUTABLE AS
$$ SELECT sha256(convert_to(E'codespar/genesis/v1\n' || wire('org', p_org), 'UTF8')) $$;

-- Read a record's content: right version, deployment, organisation, kind, and written now.
CREATE FUNCTION record_open(p_org uuid, p_content bytea, p_kinds text[]) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    c jsonb := convert_from(p_content, 'UTF8')::jsonb;
BEGIN
    IF NOT (c ?& '{v,id,deployment,livemode,org,project,kind,at,actor,on_behalf_of,subject,request_id,kid,after,parts,data}')
       OR c->>'v' IS DISTINCT FROM '1' OR jsonb_typeof(c->'parts') <> 'array' OR jsonb_typeof(c->'data') <> 'object'
       OR jsonb_typeof(c->'after') <> 'object' OR jsonb_typeof(c->'livemode') <> 'boolean'
       OR EXISTS (SELECT FROM unnest('{id,deployment,org,kind,at,actor,subject,request_id,kid}'::text[]) m
                  WHERE jsonb_typeof(c->m) <> 'string') THEN
        PERFORM refuse('record_shape', 'the record lacks a member that every record has');
    END IF;
    IF c->>'org' <> wire('org', p_org) OR c->>'deployment' <> (SELECT name FROM deployment) THEN
        PERFORM refuse('record_elsewhere', 'the record belongs to another organisation or deployment');
    END IF;
    IF c->>'kind' <> ALL (p_kinds) THEN
        PERFORM refuse('record_kind', format('a record of kind %s does not do this', c->>'kind'));
    END IF;
    IF abs(extract(epoch FROM (c->>'at')::timestamptz - clock_timestamp())) > 60 THEN
        PERFORM refuse('record_time', 'the record was made more than 60 s away from the database''s clock');
    END IF;
    RETURN c;
END $$;

CREATE FUNCTION record_part(c jsonb, p_part text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
$$ SELECT p FROM jsonb_array_elements(c->'parts') p WHERE p->>'part' = p_part LIMIT 1 $$;

-- The head's lock is the last one that any writer takes.
CREATE FUNCTION head_lock(p_org uuid) RETURNS ledger_heads LANGUAGE plpgsql AS $$
DECLARE
    h ledger_heads;
BEGIN
    SELECT * INTO h FROM ledger_heads WHERE org_id = p_org FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM refuse('ledger_no_chain', 'this organisation has no chain');
    END IF;
    RETURN h;
END $$;

CREATE FUNCTION record_append(p_org uuid, p_content bytea, p_sig bytea, c jsonb, p_openings jsonb DEFAULT NULL)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    h ledger_heads := head_lock(p_org);
    after_seq bigint := (c #>> '{after,seq}')::bigint;
    after_hash bytea := decode(c #>> '{after,hash}', 'hex');
    entry uuid := unwire('ent', c->>'id');
    line bytea;
    digest bytea;
    o jsonb;
BEGIN
    IF c->>'kind' <> 'ledger.reanchored' AND EXISTS (SELECT FROM ledger_rewinds WHERE entry_id IS NULL) THEN
        PERFORM refuse('ledger_rewound', 'the database was set back to an older copy: nothing is written until that is confirmed');
    END IF;
    -- `after` ties the signature to a moment of this chain: the head, or what was the head less than 60 s ago.
    IF (after_seq = h.seq AND after_hash = h.hash) IS NOT TRUE AND NOT EXISTS (
        SELECT FROM ledger_entries successor
        WHERE successor.org_id = p_org AND successor.seq = after_seq + 1 AND successor.prev = after_hash
          AND successor.appended_at > clock_timestamp() - interval '60 seconds') THEN
        PERFORM refuse('record_after', 'the record follows an entry that is not in this chain, or is too old');
    END IF;
    IF (c->>'kid') !~ '^[A-Za-z0-9_.:-]{1,80}$' THEN
        PERFORM refuse('record_shape', 'the key id is not of the right form');
    END IF;
    line := convert_to(format('{"content":"%s","kid":"%s","org":"%s","prev":"%s","seq":%s,"sig":"%s"}',
        encode(sha256(p_content), 'hex'), c->>'kid', wire('org', p_org), encode(h.hash, 'hex'), h.seq + 1,
        translate(encode(p_sig, 'base64'), E'\n', '')), 'UTF8');
    digest := sha256('\x00'::bytea || line);
    INSERT INTO ledger_entries (org_id, id, seq, kind, at, kid, prev, hash, content, sig, leaf)
    VALUES (p_org, entry, h.seq + 1, c->>'kind', (c->>'at')::timestamptz, c->>'kid', h.hash, digest, p_content, p_sig, line);
    UPDATE ledger_heads SET seq = h.seq + 1, hash = digest WHERE org_id = p_org;
    FOR o IN SELECT * FROM jsonb_array_elements(coalesce(p_openings, '[]')) LOOP
        IF position(convert_to('"' || (o->>'commit') || '"', 'UTF8') IN p_content) = 0 THEN
            PERFORM refuse('ledger_openings_named', 'an opening is not committed to by its record');
        END IF;
        INSERT INTO ledger_openings (org_id, commit, entry_id, salt, value)
        VALUES (p_org, decode(o->>'commit', 'hex'), entry, decode(o->>'salt', 'hex'), convert_to(o->>'value', 'UTF8'));
    END LOOP;
    RETURN jsonb_build_object('seq', h.seq + 1, 'hash', encode(digest, 'hex'));
END $$;

CREATE FUNCTION ledger_head(p_org uuid) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('seq', seq, 'hash', encode(hash, 'hex')) FROM ledger_heads WHERE org_id = p_org
$$;

-- The value that a record commits to; the commitment itself is checked by the table.
CREATE FUNCTION opened(p_openings jsonb, p_commit text) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT o->>'value' FROM jsonb_array_elements(p_openings) o WHERE o->>'commit' = p_commit LIMIT 1 $$;

CREATE FUNCTION head_read(p_org uuid) RETURNS jsonb LANGUAGE plpgsql AS
$$ BEGIN PERFORM enter(p_org); RETURN ledger_head(p_org); END $$;
CALL definer('head_read(uuid)', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');

CREATE FUNCTION checkpoint_add(p_org uuid, p_size bigint, p_root bytea, p_frontier text[], p_note text, p_generation integer)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM enter(p_org);
    INSERT INTO ledger_checkpoints (org_id, size, root, frontier, note, generation)
    SELECT p_org, p_size, p_root, p_frontier, p_note, p_generation
    WHERE p_size <= (SELECT seq FROM ledger_heads WHERE org_id = p_org)
      AND p_size > coalesce((SELECT max(size) FROM ledger_checkpoints WHERE org_id = p_org), 0)
      AND p_generation = ledger_generation(p_org) AND NOT EXISTS (SELECT FROM ledger_rewinds WHERE org_id = p_org AND entry_id IS NULL)
    ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;
CALL definer('checkpoint_add(uuid,bigint,bytea,text[],text,integer)', '{codespar_rail}');

-- The generation of a chain: it begins with an entry that confirms a setback.
CREATE FUNCTION ledger_generation(p_org uuid) RETURNS integer LANGUAGE sql STABLE AS
$$ SELECT coalesce(max(generation), 0) FROM ledger_rewinds WHERE org_id = p_org AND entry_id IS NOT NULL $$;

-- How far each chain goes, how far its last checkpoint, and how often it was set back: ids and numbers only.
CREATE FUNCTION chain_sizes() RETURNS TABLE (org uuid, size bigint, sealed bigint, generation integer) LANGUAGE sql STABLE AS $$
    SELECT h.org_id, h.seq, coalesce((SELECT max(c.size) FROM ledger_checkpoints c WHERE c.org_id = h.org_id), 0),
           (SELECT coalesce(max(r.generation), 0) FROM ledger_rewinds r WHERE r.org_id = h.org_id AND r.entry_id IS NOT NULL)
    FROM ledger_heads h
$$;
CREATE POLICY scanner ON ledger_heads FOR SELECT TO codespar_scanner USING (true);
CREATE POLICY scanner ON ledger_checkpoints FOR SELECT TO codespar_scanner USING (true);
GRANT SELECT ON ledger_heads TO codespar_scanner;
GRANT SELECT (org_id, size) ON ledger_checkpoints TO codespar_scanner;
CALL definer('chain_sizes()', '{codespar_rail}', 'codespar_scanner');

-- A checkpoint outside covers p_size entries of a generation. Its row was written before its file: where there is none as far as that, the
-- database was set back. True when it was; the first time it is written down.
CREATE FUNCTION ledger_rewound(p_org uuid, p_generation integer, p_size bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_sealed bigint;
    v_generation integer;
BEGIN
    PERFORM enter(p_org);
    SELECT coalesce(max(size), 0) INTO v_sealed FROM ledger_checkpoints WHERE org_id = p_org;
    v_generation := ledger_generation(p_org);
    IF (p_generation, p_size) <= (v_generation, v_sealed) THEN
        RETURN false;
    END IF;
    INSERT INTO ledger_rewinds (org_id, generation, sealed, size)
    VALUES (p_org, greatest(p_generation, v_generation) + 1, v_sealed, greatest(p_size, v_sealed + 1)) ON CONFLICT DO NOTHING;
    RETURN true;
END $$;
CALL definer('ledger_rewound(uuid,integer,bigint)', '{codespar_rail}');

CREATE FUNCTION org_ids() RETURNS SETOF uuid LANGUAGE sql STABLE AS $$ SELECT org_id FROM ledger_heads ORDER BY org_id $$;
CALL definer('org_ids()', '{codespar_rail,codespar_auditor,codespar_owner}', 'codespar_scanner');

GRANT EXECUTE ON FUNCTION ledger_genesis, record_open, record_part, head_lock, record_append, ledger_head, opened, ledger_head_grows, ledger_generation, platform_named
    TO codespar_definer;
