-- What every later rule uses: refusals with a name, ids as on the wire, tenant walls, rows that never change.

CREATE FUNCTION refuse(rule text, detail text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- Python picks its error class by the rule's name (diag.constraint_name), never by the words.
    RAISE EXCEPTION USING ERRCODE = 'CS001', MESSAGE = detail, CONSTRAINT = rule;
END $$;

CREATE FUNCTION wire(prefix text, id uuid) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT prefix || '_' || replace(id::text, '-', '') $$;

CREATE FUNCTION unwire(prefix text, wired text) RETURNS uuid LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF wired IS NULL THEN
        RETURN NULL;
    END IF;
    IF wired !~ ('^' || prefix || '_[0-9a-f]{32}$') THEN
        PERFORM refuse('record_shape', format('an id of the form %s_… is missing in the record', prefix));
    END IF;
    RETURN substr(wired, length(prefix) + 2)::uuid;
END $$;

CREATE FUNCTION unwire_all(prefix text, list jsonb) RETURNS uuid[] LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN jsonb_typeof(list) = 'array'
                THEN (SELECT array_agg(unwire(prefix, v)) FROM jsonb_array_elements_text(list) v) END
$$;

CREATE FUNCTION texts(list jsonb) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN jsonb_typeof(list) = 'array'
                THEN (SELECT array_agg(v) FROM jsonb_array_elements_text(list) v) END
$$;

CREATE FUNCTION utc(moment timestamptz) RETURNS text LANGUAGE sql STABLE AS
$$ SELECT to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;

-- An id that the database makes by itself: a UUIDv7 (RFC 9562) out of a random UUID, its first 48 bits the milliseconds.
CREATE FUNCTION new_id() RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
        PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid
$$;

-- Inside a definer function the tenant is the function's own argument: row-level security binds the definer too.
CREATE FUNCTION enter(p_org uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_org IS NULL THEN
        PERFORM refuse('tenant_missing', 'no organisation was named');
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        -- The locks below are exact under READ COMMITTED only: each statement must see what the lock waited for.
        PERFORM refuse('isolation_level', 'this function runs under READ COMMITTED');
    END IF;
    PERFORM set_config('codespar.org', p_org::text, true);
END $$;

CREATE FUNCTION never_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse(TG_TABLE_NAME || '_append_only', format('rows of %s are never updated or deleted', TG_TABLE_NAME));
    RETURN NULL;
END $$;

CREATE PROCEDURE append_only(target text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION never_changes()',
                   target || '_append_only', target);
    EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION never_changes()',
                   target || '_no_truncate', target);
END $$;

CREATE FUNCTION is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM refuse(TG_TABLE_NAME || '_kept', format('rows of %s are never removed', TG_TABLE_NAME));
    RETURN NULL;
END $$;

-- Rows that change, and stay: what only grows must not be forgotten either.
CREATE PROCEDURE kept(target text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER %I BEFORE DELETE ON %I FOR EACH ROW EXECUTE FUNCTION is_kept()', target || '_kept', target);
    EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION is_kept()', target || '_no_truncate', target);
END $$;

-- A tenant's table: walls for everybody, the owner included; reading by the roles named; writing by the functions' owner alone.
CREATE PROCEDURE tenant_table(target text, readers text[], tenant_column text DEFAULT 'org_id') LANGUAGE plpgsql AS $$
DECLARE
    reader text;
BEGIN
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', target);
    EXECUTE format('CREATE POLICY tenant ON %I USING (%I = NULLIF(current_setting(''codespar.org'', true), '''')::uuid)',
                   target, tenant_column);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I TO codespar_definer', target);
    FOREACH reader IN ARRAY readers LOOP
        EXECUTE format('GRANT SELECT ON %I TO %I', target, reader);
    END LOOP;
END $$;

-- Hand a function to the definer and open it to the roles named, and to nobody else.
CREATE PROCEDURE definer(signature text, callers text[] DEFAULT '{}', owner text DEFAULT 'codespar_definer') LANGUAGE plpgsql AS $$
DECLARE
    caller text;
BEGIN
    EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = codespar, pg_catalog, pg_temp', signature);
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
    FOREACH caller IN ARRAY callers LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', signature, caller);
    END LOOP;
    EXECUTE format('ALTER FUNCTION %s OWNER TO %I', signature, owner);
END $$;

GRANT EXECUTE ON FUNCTION refuse, wire, unwire, unwire_all, texts, utc, new_id, enter, never_changes, is_kept TO codespar_definer, codespar_scanner;
