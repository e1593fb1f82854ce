-- The provider's own records against ours. The engine finds what does not agree and opens a case for each; people close them.

-- How far each rail account has been read, and when it is read next.
CREATE TABLE reconciliation_states (
    org_id uuid NOT NULL,
    rail_account_id uuid NOT NULL,
    rail text NOT NULL,
    livemode boolean NOT NULL,
    -- Where the last run began its last page, and the balance there: the next one begins there again, and looks whether history has changed.
    cursor text NOT NULL DEFAULT '',
    opening bigint,
    -- The balance before the first line that there ever was, and the difference to our books that people have accepted since.
    baseline bigint,
    accepted bigint NOT NULL DEFAULT 0,
    -- What our books had moved out over this rail until then, so that a run adds up what has come since, and not everything there ever was.
    booked bigint NOT NULL DEFAULT 0,
    booked_until timestamptz NOT NULL DEFAULT '-infinity',
    runs bigint NOT NULL DEFAULT 0,
    done_at timestamptz,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Whether people have been told that it lags, and not yet that it has caught up.
    lagging boolean NOT NULL DEFAULT false,
    next_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_owner text,
    lease_until timestamptz,
    CONSTRAINT reconciliation_states_pkey PRIMARY KEY (org_id, rail_account_id),
    CONSTRAINT reconciliation_states_account FOREIGN KEY (org_id, rail_account_id) REFERENCES rail_accounts (org_id, id)
);
CREATE INDEX reconciliation_states_next ON reconciliation_states (rail, next_at);
CALL tenant_table('reconciliation_states', '{codespar_control,codespar_rail,codespar_auditor}');

CREATE FUNCTION reconciliation_begins() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO reconciliation_states (org_id, rail_account_id, rail, livemode) VALUES (NEW.org_id, NEW.id, NEW.rail, NEW.livemode);
    RETURN NULL;
END $$;
CREATE TRIGGER rail_accounts_reconciled AFTER INSERT ON rail_accounts FOR EACH ROW EXECUTE FUNCTION reconciliation_begins();

CREATE TABLE reconciliations (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    rail_account_id uuid NOT NULL,
    rail text NOT NULL,
    livemode boolean NOT NULL,
    status text NOT NULL DEFAULT 'running',
    code text,
    -- Whether it read from the first line on.
    whole boolean NOT NULL DEFAULT false,
    lines integer NOT NULL DEFAULT 0,
    matched integer NOT NULL DEFAULT 0,
    pending integer NOT NULL DEFAULT 0,
    opened integer NOT NULL DEFAULT 0,
    -- Cases that nobody had closed when it ended.
    cases integer NOT NULL DEFAULT 0,
    closing bigint,
    expected bigint,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    CONSTRAINT reconciliations_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT reconciliations_of FOREIGN KEY (org_id, rail_account_id) REFERENCES reconciliation_states,
    CONSTRAINT reconciliations_status CHECK (status IN ('running', 'done', 'incomplete', 'failed')),
    CONSTRAINT reconciliations_finished CHECK ((status = 'running') = (finished_at IS NULL))
);
CREATE INDEX reconciliations_of_account ON reconciliations (org_id, rail_account_id, started_at);
CALL tenant_table('reconciliations', '{codespar_control,codespar_rail,codespar_auditor}');

-- What the provider told, line by line. A line that says something else than it did is a new version of it: nothing told is forgotten.
CREATE TABLE statement_lines (
    org_id uuid NOT NULL,
    rail_account_id uuid NOT NULL,
    line_id text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    kind text NOT NULL,
    provider_id text NOT NULL,
    ref text,
    amount bigint NOT NULL,
    currency text NOT NULL,
    party text NOT NULL,
    at timestamptz NOT NULL,
    first_run uuid NOT NULL,
    last_run uuid NOT NULL,
    current boolean NOT NULL DEFAULT true,
    matched boolean NOT NULL DEFAULT false,
    flagged boolean NOT NULL DEFAULT false,
    CONSTRAINT statement_lines_pkey PRIMARY KEY (org_id, rail_account_id, line_id, version),
    CONSTRAINT statement_lines_of FOREIGN KEY (org_id, first_run) REFERENCES reconciliations (org_id, id),
    CONSTRAINT statement_lines_account FOREIGN KEY (org_id, rail_account_id) REFERENCES reconciliation_states,
    CONSTRAINT statement_lines_kind CHECK (kind IN ('payment', 'refund', 'deposit', 'other'))
);
CREATE UNIQUE INDEX statement_lines_current ON statement_lines (org_id, rail_account_id, line_id) WHERE current;
CREATE INDEX statement_lines_ref ON statement_lines (org_id, rail_account_id, ref) WHERE current;
CREATE INDEX statement_lines_open ON statement_lines (org_id, rail_account_id, line_id) WHERE current AND NOT matched AND NOT flagged;
CALL tenant_table('statement_lines', '{codespar_control,codespar_rail,codespar_auditor}');

CREATE FUNCTION statement_line_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (NEW.org_id, NEW.rail_account_id, NEW.line_id, NEW.version, NEW.kind, NEW.provider_id, NEW.amount, NEW.currency, NEW.party, NEW.at, NEW.first_run)
       IS DISTINCT FROM (OLD.org_id, OLD.rail_account_id, OLD.line_id, OLD.version, OLD.kind, OLD.provider_id, OLD.amount, OLD.currency, OLD.party, OLD.at, OLD.first_run) THEN
        PERFORM refuse('statement_lines_fixed', 'what a provider told is never changed: what it tells now is another version');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER statement_lines_fixed BEFORE UPDATE OF org_id, rail_account_id, line_id, version, kind, provider_id, amount, currency, party, at, first_run OR DELETE
    ON statement_lines FOR EACH ROW EXECUTE FUNCTION statement_line_fixed();

-- A case for people. `subject` is what it is about, so that one thing opens one case of a kind, for ever.
CREATE TABLE discrepancies (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    rail_account_id uuid NOT NULL,
    rail text NOT NULL,
    livemode boolean NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    line_id text,
    payment_id uuid,
    refund_id uuid,
    -- What our books say and what the provider says: {amount, currency, status, at ...}, as far as each is known; whom either names is an opening.
    ours jsonb NOT NULL,
    theirs jsonb NOT NULL,
    payees_commit text,
    run_id uuid NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT discrepancies_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT discrepancies_once UNIQUE (org_id, rail_account_id, kind, subject),
    CONSTRAINT discrepancies_account FOREIGN KEY (org_id, rail_account_id) REFERENCES reconciliation_states,
    CONSTRAINT discrepancies_payment FOREIGN KEY (org_id, payment_id) REFERENCES payments,
    CONSTRAINT discrepancies_refund FOREIGN KEY (org_id, refund_id) REFERENCES refunds,
    CONSTRAINT discrepancies_run FOREIGN KEY (org_id, run_id) REFERENCES reconciliations (org_id, id),
    CONSTRAINT discrepancies_kind CHECK (kind IN ('missing', 'extra', 'amount', 'currency', 'payee', 'status', 'duplicate', 'late', 'incomplete', 'balance'))
);
CREATE INDEX discrepancies_of_payment ON discrepancies (org_id, payment_id);
CALL tenant_table('discrepancies', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('discrepancies');

-- A named human closes a case, with a reason. No function of the engine's own processes writes here.
CREATE TABLE discrepancy_resolutions (
    org_id uuid NOT NULL,
    discrepancy_id uuid NOT NULL,
    member_id uuid NOT NULL,
    verdict text NOT NULL,
    reason_commit text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT discrepancy_resolutions_pkey PRIMARY KEY (org_id, discrepancy_id),
    CONSTRAINT discrepancy_resolutions_of FOREIGN KEY (org_id, discrepancy_id) REFERENCES discrepancies (org_id, id),
    CONSTRAINT discrepancy_resolutions_member FOREIGN KEY (org_id, member_id) REFERENCES members,
    CONSTRAINT discrepancy_resolutions_verdict CHECK (verdict IN ('ours', 'theirs', 'both'))
);
CALL tenant_table('discrepancy_resolutions', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('discrepancy_resolutions');

-- Whose statement is read next on one rail, one run at a time. Ids only, over all organisations.
CREATE FUNCTION reconciliations_due(p_owner text, p_rail text, p_limit integer, p_lease_seconds integer) RETURNS TABLE (org uuid, account uuid) LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_orgs uuid[];
    v_accounts uuid[];
BEGIN
    SELECT array_agg(w.org_id), array_agg(w.rail_account_id) INTO v_orgs, v_accounts
    FROM (SELECT s.org_id, s.rail_account_id FROM reconciliation_states s
          WHERE s.rail = p_rail AND s.next_at <= v_now AND (s.lease_until IS NULL OR s.lease_until < v_now)
          ORDER BY s.next_at LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED) w;
    RETURN QUERY
        UPDATE reconciliation_states s SET lease_owner = p_owner, lease_until = v_now + make_interval(secs => p_lease_seconds)
        FROM unnest(v_orgs, v_accounts) w (org_id, account)
        WHERE s.org_id = w.org_id AND s.rail_account_id = w.account
        RETURNING s.org_id, s.rail_account_id;
END $$;
CREATE POLICY scanner ON reconciliation_states TO codespar_scanner USING (true);
GRANT SELECT (org_id, rail_account_id, rail, next_at, lease_until), UPDATE (lease_owner, lease_until) ON reconciliation_states TO codespar_scanner;
CALL definer('reconciliations_due(text,text,integer,integer)', '{codespar_rail}', 'codespar_scanner');

CREATE FUNCTION reconciliation_begin(p_org uuid, p_account uuid, p_id uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    s reconciliation_states;
BEGIN
    PERFORM enter(p_org);
    UPDATE reconciliation_states SET runs = runs + 1 WHERE org_id = p_org AND rail_account_id = p_account RETURNING * INTO s;
    -- A run whose process is gone has failed; what it stored stays.
    UPDATE reconciliations SET status = 'failed', code = 'interrupted', finished_at = clock_timestamp()
    WHERE org_id = p_org AND rail_account_id = p_account AND status = 'running';
    INSERT INTO reconciliations (org_id, id, rail_account_id, rail, livemode) VALUES (p_org, p_id, p_account, s.rail, s.livemode);
    RETURN jsonb_build_object('rail', s.rail, 'livemode', s.livemode, 'cursor', s.cursor, 'opening', s.opening, 'runs', s.runs);
END $$;
CALL definer('reconciliation_begin(uuid,uuid,uuid)', '{codespar_rail}');

-- A page of the statement. Twice is once; a line that has changed is a new version. A line without our key is found by the provider's id.
CREATE FUNCTION statement_store(p_org uuid, p_run uuid, p_whole boolean, p_lines jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r reconciliations;
BEGIN
    PERFORM enter(p_org);
    UPDATE reconciliations SET lines = lines + jsonb_array_length(p_lines), whole = whole OR p_whole
    WHERE org_id = p_org AND id = p_run AND status = 'running' RETURNING * INTO r;
    IF r.id IS NULL THEN
        PERFORM refuse('reconciliations_running', 'this run is over: another process has taken its place');
    END IF;
    WITH told AS (
        SELECT t.*, coalesce(t.ref, y.rail_ref, f.rail_ref) AS known
        FROM jsonb_to_recordset(p_lines) t (line_id text, kind text, provider_id text, ref text, amount bigint, currency text, party text, at timestamptz)
        LEFT JOIN payments y ON t.ref IS NULL AND y.org_id = p_org AND y.rail = r.rail AND y.provider_id = t.provider_id
        LEFT JOIN refunds f ON t.ref IS NULL AND f.org_id = p_org AND f.provider_id = t.provider_id
    ), seen AS (
        UPDATE statement_lines s SET last_run = p_run,
            current = (s.kind, s.provider_id, s.amount, s.currency, s.party, s.at) IS NOT DISTINCT FROM (t.kind, t.provider_id, t.amount, t.currency, t.party, t.at)
        FROM told t WHERE s.org_id = p_org AND s.rail_account_id = r.rail_account_id AND s.line_id = t.line_id AND s.current
        RETURNING s.line_id, s.version, s.current
    )
    INSERT INTO statement_lines (org_id, rail_account_id, line_id, version, kind, provider_id, ref, amount, currency, party, at, first_run, last_run)
    SELECT p_org, r.rail_account_id, t.line_id, coalesce(s.version, 0) + 1, t.kind, t.provider_id, t.known, t.amount, t.currency, t.party, t.at, p_run, p_run
    FROM told t LEFT JOIN seen s ON s.line_id = t.line_id WHERE s.current IS DISTINCT FROM true;
END $$;
CALL definer('statement_store(uuid,uuid,boolean,jsonb)', '{codespar_rail}');

-- The usual case, a part at a time: of the open lines after one, the first so many are read, and those are matched that are alone under
-- the key of a payment that has settled, equal in every field, and surely not late. Returns {matched, last}, `last` being null at the end.
CREATE FUNCTION statement_agree(p_org uuid, p_run uuid, p_late_seconds integer, p_after text, p_limit integer) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    r reconciliations;
    v_last text;
    v_until text;
    v_matched bigint;
BEGIN
    PERFORM enter(p_org);
    SELECT * INTO r FROM reconciliations WHERE org_id = p_org AND id = p_run AND status = 'running';
    IF r.id IS NULL THEN
        PERFORM refuse('reconciliations_running', 'this run is over: another process has taken its place');
    END IF;
    SELECT l.line_id INTO v_last FROM statement_lines l
    WHERE l.org_id = p_org AND l.rail_account_id = r.rail_account_id AND l.current AND NOT l.matched AND NOT l.flagged AND l.line_id > p_after
    ORDER BY l.line_id OFFSET p_limit - 1 LIMIT 1;
    v_until := coalesce(v_last, (SELECT max(l.line_id) FROM statement_lines l
        WHERE l.org_id = p_org AND l.rail_account_id = r.rail_account_id AND l.current AND NOT l.matched AND NOT l.flagged));
    WITH agreed AS (
        UPDATE statement_lines l SET matched = true FROM payments y
        WHERE l.org_id = p_org AND l.rail_account_id = r.rail_account_id AND l.current AND NOT l.matched AND NOT l.flagged
          AND l.line_id > p_after AND l.line_id <= v_until AND l.kind = 'payment'
          AND y.org_id = p_org AND y.rail = r.rail AND y.rail_ref = l.ref AND y.livemode = r.livemode AND y.status NOT IN ('submitted', 'uncertain')
          AND y.captured > 0 AND -l.amount = y.captured AND l.currency = y.currency AND l.party = y.rail_payee
          AND l.at <= y.created_at + make_interval(secs => p_late_seconds)
          -- Counted, because a line that must not exist is looked for in a copy of the whole statement, made for each part.
          AND (SELECT count(*) FROM statement_lines o WHERE o.org_id = p_org AND o.rail_account_id = r.rail_account_id AND o.current AND o.ref = l.ref) = 1
        RETURNING 1)
    SELECT count(*) INTO v_matched FROM agreed;
    RETURN jsonb_build_object('matched', v_matched, 'last', v_last);
END $$;
CALL definer('statement_agree(uuid,uuid,integer,text,integer)', '{codespar_rail}');

-- Lines that are open, by their ids. Read part by part in the order of their index: how many there are is known to no statistics while a
-- run is closing them, and whoever trusts those reads the whole statement.
CREATE FUNCTION statement_open(p_org uuid, p_account uuid) RETURNS text[] LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_open text[] := '{}';
    v_part text[];
    v_last text := '';
BEGIN
    LOOP
        SELECT array_agg(x.line_id ORDER BY x.line_id) INTO v_part FROM (
            SELECT l.line_id FROM statement_lines l
            WHERE l.org_id = p_org AND l.rail_account_id = p_account AND l.current AND NOT l.matched AND NOT l.flagged AND l.line_id > v_last
            ORDER BY l.line_id LIMIT 10000) x;
        EXIT WHEN v_part IS NULL;
        v_open := v_open || v_part;
        v_last := v_part[cardinality(v_part)];
    END LOOP;
    RETURN v_open;
END $$;

-- What each line of `p_open` means, all lines of one key taken together. `verdict` is matched, pending, settles, or a kind of discrepancy.
CREATE FUNCTION statement_judged(p_org uuid, p_account uuid, p_rail text, p_livemode boolean, p_late_seconds integer, p_open text[])
RETURNS TABLE (verdict text, subject text, line_id text, ref text, payment_id uuid, refund_id uuid, ours jsonb, theirs jsonb) LANGUAGE sql STABLE AS $$
    WITH fresh AS (
        SELECT DISTINCT coalesce(l.ref, 'line ' || l.line_id || ' ' || l.version) AS name, l.ref, l.kind,
               CASE WHEN l.ref IS NULL THEN l.line_id END AS alone
        FROM unnest(p_open) o(line_id) JOIN statement_lines l ON l.org_id = p_org AND l.rail_account_id = p_account AND l.line_id = o.line_id AND l.current
    ), told AS (
        SELECT f.name, f.kind, count(*) AS lines, sum(l.amount) AS amount, min(l.currency) AS currency, max(l.currency) AS other_currency,
               min(l.party) AS party, max(l.party) AS other_party, max(l.at) AS at, max(l.line_id) AS line_id, max(l.provider_id) AS provider_id, f.ref,
               bool_or(l.flagged) AS flagged
        FROM fresh f JOIN statement_lines l ON l.org_id = p_org AND l.rail_account_id = p_account AND l.current AND l.kind = f.kind
             AND (l.ref = f.ref OR l.line_id = f.alone)
        GROUP BY f.name, f.kind, f.ref
    ), known AS (
        SELECT t.*, y.id AS payment, y.status AS payment_status, y.amount AS asked, y.captured, y.currency AS payment_currency, y.rail_payee, y.provider_id AS payment_provider,
               a.created_at AS sent_at, r.id AS refund, r.status AS refund_status, r.amount AS refund_amount, ry.currency AS refund_currency, k.status AS credit_status,
               k.amount AS credit_amount, k.currency AS credit_currency
        FROM told t
        LEFT JOIN payments y ON t.kind = 'payment' AND y.org_id = p_org AND y.rail = p_rail AND y.livemode = p_livemode AND y.rail_ref = t.ref
        LEFT JOIN attempts a ON a.org_id = p_org AND a.payment_id = y.id AND a.operation = 'pay'
        LEFT JOIN refunds r ON t.kind = 'refund' AND r.org_id = p_org AND r.rail = p_rail AND r.rail_ref = t.ref
        LEFT JOIN payments ry ON ry.org_id = p_org AND ry.id = r.payment_id
        LEFT JOIN credits k ON t.kind = 'deposit' AND k.org_id = p_org AND k.rail = p_rail AND k.livemode = p_livemode AND k.reference = t.provider_id
    ), judged AS (
        SELECT t.*, CASE t.kind
                WHEN 'payment' THEN CASE
                    WHEN t.payment IS NULL THEN 'extra'
                    WHEN t.currency <> t.payment_currency OR t.other_currency <> t.payment_currency THEN 'currency'
                    WHEN t.party <> t.rail_payee OR t.other_party <> t.rail_payee THEN 'payee'
                    WHEN t.payment_status IN ('submitted', 'uncertain') THEN CASE
                        WHEN -t.amount = t.asked AND t.lines = 1 AND coalesce(t.payment_provider = t.provider_id, true) AND NOT t.flagged THEN 'settles'
                        WHEN -t.amount = t.asked THEN 'pending'
                        WHEN t.lines > 1 AND -t.amount > t.asked THEN 'duplicate'
                        WHEN -t.amount > t.asked OR t.amount > 0 THEN 'amount' ELSE 'pending' END
                    WHEN t.captured = 0 THEN 'status'
                    WHEN t.lines > 1 AND -t.amount <> t.captured THEN 'duplicate'
                    WHEN -t.amount <> t.captured THEN 'amount'
                    WHEN t.at > t.sent_at + make_interval(secs => p_late_seconds) THEN 'late'
                    ELSE 'matched' END
                WHEN 'refund' THEN CASE
                    WHEN t.refund IS NULL THEN 'extra'
                    WHEN t.currency <> t.refund_currency OR t.other_currency <> t.refund_currency THEN 'currency'
                    WHEN t.refund_status IN ('authorized', 'submitted', 'uncertain') THEN CASE WHEN t.amount = t.refund_amount THEN 'pending' ELSE 'amount' END
                    WHEN t.refund_status <> 'settled' THEN 'status'
                    WHEN t.lines > 1 AND t.amount <> t.refund_amount THEN 'duplicate'
                    WHEN t.amount <> t.refund_amount THEN 'amount' ELSE 'matched' END
                WHEN 'deposit' THEN CASE
                    WHEN t.credit_status IS NULL OR t.credit_status = 'pending' THEN 'pending'
                    WHEN t.credit_status = 'refused' THEN 'status'
                    WHEN t.currency <> t.credit_currency THEN 'currency'
                    WHEN t.lines > 1 THEN 'duplicate'
                    WHEN t.amount <> t.credit_amount THEN 'amount' ELSE 'matched' END
                ELSE 'extra' END AS verdict
        FROM known t
    )
    SELECT t.verdict, t.name, t.line_id, t.ref, t.payment, t.refund,
        CASE WHEN t.verdict = 'matched' THEN NULL
             WHEN t.payment IS NOT NULL THEN jsonb_build_object('status', t.payment_status, 'amount', -coalesce(nullif(t.captured, 0), t.asked), 'currency', t.payment_currency, 'payee', t.rail_payee)
             WHEN t.refund IS NOT NULL THEN jsonb_build_object('status', t.refund_status, 'amount', t.refund_amount, 'currency', t.refund_currency)
             WHEN t.credit_status IS NOT NULL THEN jsonb_build_object('status', t.credit_status, 'amount', t.credit_amount, 'currency', t.credit_currency)
             ELSE '{}' END,
        CASE WHEN t.verdict <> 'matched' THEN jsonb_build_object('lines', t.lines, 'amount', t.amount, 'currency', CASE t.currency WHEN t.payment_currency THEN t.other_currency ELSE t.currency END,
            'payee', CASE t.party WHEN t.rail_payee THEN t.other_party ELSE t.party END, 'at', utc(t.at), 'provider_id', t.provider_id, 'kind', t.kind) END
    FROM judged t
$$;

-- Matches what agrees, and returns what does not: {matched, pending, expected, settles: [...], found: [...]}, at most p_most of each.
CREATE FUNCTION statement_match(p_org uuid, p_run uuid, p_late_seconds integer, p_missing_seconds integer, p_most integer) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    r reconciliations;
    s reconciliation_states;
    v jsonb;
    v_due timestamptz;
    v_open text[];
    -- No transaction is open for so long: what was booked before is all there.
    v_closed timestamptz := clock_timestamp() - interval '10 minutes';
    v_before bigint;
    v_booked bigint;
    v_pending bigint;
BEGIN
    PERFORM enter(p_org);
    SELECT * INTO r FROM reconciliations WHERE org_id = p_org AND id = p_run AND status = 'running';
    IF r.id IS NULL THEN
        PERFORM refuse('reconciliations_running', 'this run is over: another process has taken its place');
    END IF;
    SELECT * INTO s FROM reconciliation_states WHERE org_id = p_org AND rail_account_id = r.rail_account_id;
    -- What settled before that stands in the statement; what settled later need not, and is on its way to it.
    v_due := r.started_at - make_interval(secs => p_missing_seconds);
    v_open := statement_open(p_org, r.rail_account_id);
    -- Lines and books are read in one statement, and so at one moment: a payment that settles meanwhile is in both or in neither.
    WITH judged AS MATERIALIZED (
        SELECT * FROM statement_judged(p_org, r.rail_account_id, r.rail, r.livemode, p_late_seconds, v_open)
    ), matched AS (
        UPDATE statement_lines l SET matched = true FROM judged j
        WHERE l.org_id = p_org AND l.rail_account_id = r.rail_account_id AND l.current AND NOT l.matched AND j.verdict = 'matched'
          AND (l.ref = j.ref OR (j.ref IS NULL AND l.line_id = j.line_id))
        RETURNING 1
    ), due AS (
        SELECT * FROM judged j WHERE j.verdict NOT IN ('matched', 'pending', 'settles')
          AND NOT EXISTS (SELECT FROM discrepancies d WHERE d.org_id = p_org AND d.rail_account_id = r.rail_account_id AND d.kind = j.verdict AND d.subject = j.subject)
        LIMIT p_most
    ), moved AS (
        SELECT t.amount, t.created_at FROM accounts a JOIN transfers t ON t.org_id = p_org AND t.credit_id = a.id AND t.created_at > s.booked_until
        WHERE a.org_id = p_org AND a.rail = r.rail AND a.livemode = r.livemode AND a.kind IN ('clearing', 'external')
        UNION ALL
        SELECT -t.amount, t.created_at FROM accounts a JOIN transfers t ON t.org_id = p_org AND t.debit_id = a.id AND t.created_at > s.booked_until
        WHERE a.org_id = p_org AND a.rail = r.rail AND a.livemode = r.livemode AND a.kind IN ('clearing', 'external')
    ), told_later AS (
        SELECT y.captured AS amount FROM payment_transitions t JOIN payments y ON y.org_id = p_org AND y.id = t.payment_id
        WHERE t.org_id = p_org AND t.to_state = 'settled' AND t.from_state IN ('submitted', 'uncertain') AND t.at >= v_due
          AND y.rail = r.rail AND y.livemode = r.livemode AND NOT EXISTS (SELECT FROM statement_lines l
              WHERE l.org_id = p_org AND l.rail_account_id = r.rail_account_id AND l.current AND l.ref = y.rail_ref)
        UNION ALL
        SELECT -f.amount FROM refunds f JOIN payments y ON y.org_id = p_org AND y.id = f.payment_id
        WHERE f.org_id = p_org AND f.rail = r.rail AND f.status = 'settled' AND f.updated_at >= v_due AND y.livemode = r.livemode
          AND NOT EXISTS (SELECT FROM statement_lines l
              WHERE l.org_id = p_org AND l.rail_account_id = r.rail_account_id AND l.current AND l.ref = f.rail_ref)
        UNION ALL
        SELECT -k.amount FROM credits k
        WHERE k.org_id = p_org AND k.rail = r.rail AND k.livemode = r.livemode AND k.status = 'confirmed' AND k.created_at >= v_due
          AND NOT EXISTS (SELECT FROM statement_lines l
              WHERE l.org_id = p_org AND l.rail_account_id = r.rail_account_id AND l.current AND l.kind = 'deposit' AND l.provider_id = k.reference)
    )
    SELECT jsonb_build_object('matched', (SELECT count(*) FROM matched), 'pending', (SELECT count(*) FROM judged WHERE verdict IN ('pending', 'settles')),
            'settles', (SELECT coalesce(jsonb_agg(to_jsonb(x)), '[]') FROM (SELECT * FROM judged WHERE verdict = 'settles' LIMIT p_most) x),
            'found', (SELECT coalesce(jsonb_agg(to_jsonb(d)), '[]') FROM due d),
            'deposits', (SELECT coalesce(jsonb_agg(DISTINCT theirs->>'provider_id'), '[]') FROM judged j WHERE j.verdict = 'pending' AND j.theirs->>'kind' = 'deposit')),
           coalesce((SELECT sum((theirs->>'amount')::bigint) FROM judged WHERE verdict IN ('pending', 'settles')), 0)
               + coalesce((SELECT sum(amount) FROM told_later), 0),
           s.booked + coalesce((SELECT sum(amount) FROM moved WHERE created_at <= v_closed), 0),
           -- Whoever reads everything adds up everything, payment by payment; all others, what the clearing account has had since.
           CASE WHEN r.whole THEN
               coalesce((SELECT sum(captured - refunded) FROM payments WHERE org_id = p_org AND rail = r.rail AND livemode = r.livemode AND captured > 0), 0)
               - coalesce((SELECT sum(amount) FROM credits WHERE org_id = p_org AND rail = r.rail AND livemode = r.livemode AND status = 'confirmed'), 0)
           ELSE s.booked + coalesce((SELECT sum(amount) FROM moved), 0) END
    INTO v, v_pending, v_before, v_booked;
    UPDATE reconciliation_states SET booked = v_before, booked_until = greatest(booked_until, v_closed)
    WHERE org_id = p_org AND rail_account_id = r.rail_account_id;
    -- What the account had before us, what moved since by our books, and what only one of the two has told yet.
    RETURN v || jsonb_build_object('expected', s.baseline + s.accepted - v_booked + v_pending,
        'open', (SELECT count(*) FROM discrepancies d WHERE d.org_id = p_org AND d.rail_account_id = r.rail_account_id
                 AND NOT EXISTS (SELECT FROM discrepancy_resolutions x WHERE x.org_id = p_org AND x.discrepancy_id = d.id)),
        'open_before', coalesce((SELECT x.cases FROM reconciliations x WHERE x.org_id = p_org AND x.rail_account_id = r.rail_account_id AND x.status = 'done'
                                ORDER BY x.started_at DESC LIMIT 1), 0), 'accepted', s.accepted);
END $$;
CALL definer('statement_match(uuid,uuid,integer,integer,integer)', '{codespar_rail}');

-- What our books have settled long enough ago and the statement does not have; and what it had and has no more. A part at a time, in the
-- order in which it settled after p_after (null: from where the last run ended): {found, last}, `last` being null at the end.
CREATE FUNCTION statement_missing(p_org uuid, p_run uuid, p_missing_seconds integer, p_after timestamptz, p_limit integer) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    r reconciliations;
    v_after timestamptz := p_after;
    v_due timestamptz;
    v_last timestamptz;
    v_found jsonb;
BEGIN
    PERFORM enter(p_org);
    SELECT * INTO r FROM reconciliations WHERE org_id = p_org AND id = p_run AND status = 'running';
    IF r.id IS NULL THEN
        PERFORM refuse('reconciliations_running', 'this run is over: another process has taken its place');
    END IF;
    v_due := r.started_at - make_interval(secs => p_missing_seconds);
    IF v_after IS NULL AND r.whole THEN
        v_after := '-infinity';
    ELSIF v_after IS NULL THEN
        SELECT coalesce(s.done_at, '-infinity') - make_interval(secs => p_missing_seconds + 120) INTO v_after
        FROM reconciliation_states s WHERE s.org_id = p_org AND s.rail_account_id = r.rail_account_id;
    END IF;
    SELECT t.at INTO v_last FROM payment_transitions t WHERE t.org_id = p_org AND t.to_state = 'settled' AND t.at > v_after AND t.at < v_due
    ORDER BY t.at OFFSET p_limit - 1 LIMIT 1;
    SELECT coalesce(jsonb_agg(to_jsonb(m)), '[]') INTO v_found FROM (
        SELECT 'missing' AS verdict, y.rail_ref AS subject, y.rail_ref AS ref, NULL AS line_id, y.id AS payment_id, NULL::uuid AS refund_id,
               jsonb_build_object('status', y.status, 'amount', -y.captured, 'currency', y.currency, 'payee', y.rail_payee) AS ours, '{}'::jsonb AS theirs
        FROM payment_transitions t JOIN payments y ON y.org_id = p_org AND y.id = t.payment_id
        WHERE t.org_id = p_org AND t.to_state = 'settled' AND t.from_state IN ('submitted', 'uncertain') AND t.at > v_after AND t.at < v_due
          AND t.at <= coalesce(v_last, v_due) AND y.rail = r.rail AND y.livemode = r.livemode AND y.captured > 0
          AND NOT EXISTS (SELECT FROM statement_lines l WHERE l.org_id = p_org AND l.rail_account_id = r.rail_account_id AND l.ref = y.rail_ref AND l.current
                          AND (NOT r.whole OR l.last_run = p_run))
          AND NOT EXISTS (SELECT FROM discrepancies d WHERE d.org_id = p_org AND d.rail_account_id = r.rail_account_id AND d.kind = 'missing' AND d.subject = y.rail_ref)
        ) m;
    RETURN jsonb_build_object('found', v_found, 'last', v_last);
END $$;
CALL definer('statement_missing(uuid,uuid,integer,timestamp with time zone,integer)', '{codespar_rail}');

-- kinds: reconciliation.flagged. One case for each item; what has its case already is left out by its unique name.
CREATE FUNCTION discrepancies_open(p_org uuid, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    r reconciliations;
    v_entry uuid;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{reconciliation.flagged}');
    PERFORM system_actor(c);
    v_entry := unwire('ent', c->>'id');
    SELECT * INTO r FROM reconciliations WHERE org_id = p_org AND id = unwire('rcn', c #>> '{data,run}') AND livemode = (c->>'livemode')::boolean FOR NO KEY UPDATE;
    IF r.status IS DISTINCT FROM 'running' THEN
        RETURN jsonb_build_object('moved', 'state');
    END IF;
    INSERT INTO discrepancies (org_id, id, rail_account_id, rail, livemode, kind, subject, line_id, payment_id, refund_id, ours, theirs, payees_commit, run_id, entry_id)
    SELECT p_org, unwire('dsc', i->>'id'), r.rail_account_id, r.rail, r.livemode, i->>'kind', i->>'about', i->>'line', unwire('pay', i->>'payment'),
           unwire('ref', i->>'refund'), i->'ours', i->'theirs', i->>'payees_commit', r.id, v_entry
    FROM jsonb_array_elements(c #> '{data,items}') i;
    UPDATE statement_lines l SET flagged = true FROM jsonb_array_elements(c #> '{data,items}') i
    WHERE l.org_id = p_org AND l.rail_account_id = r.rail_account_id AND l.current AND (l.ref = i->>'ref' OR l.line_id = i->>'line');
    UPDATE reconciliations SET opened = opened + jsonb_array_length(c #> '{data,items}') WHERE org_id = p_org AND id = r.id;
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('discrepancies_open(uuid,bytea,bytea,jsonb)', '{codespar_rail}');

CREATE FUNCTION reconciliation_end(p_org uuid, p_run uuid, p_status text, p_code text, p_matched integer, p_pending integer, p_cases integer, p_closing bigint, p_expected bigint,
    p_cursor text, p_opening bigint, p_baseline bigint, p_accepted bigint, p_seconds integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r reconciliations;
BEGIN
    PERFORM enter(p_org);
    UPDATE reconciliations SET status = p_status, code = p_code, matched = p_matched, pending = p_pending, cases = p_cases, closing = p_closing, expected = p_expected,
        finished_at = clock_timestamp() WHERE org_id = p_org AND id = p_run AND status = 'running' RETURNING * INTO r;
    UPDATE reconciliation_states SET next_at = greatest(clock_timestamp(), next_at + make_interval(secs => p_seconds)), lease_owner = NULL, lease_until = NULL,
        cursor = coalesce(p_cursor, cursor), opening = CASE WHEN p_cursor IS NULL THEN opening ELSE p_opening END, baseline = coalesce(baseline, p_baseline),
        accepted = coalesce(p_accepted, accepted), done_at = CASE p_status WHEN 'done' THEN r.started_at ELSE done_at END
    WHERE org_id = p_org AND rail_account_id = r.rail_account_id;
END $$;
CALL definer('reconciliation_end(uuid,uuid,text,text,integer,integer,integer,bigint,bigint,text,bigint,bigint,bigint,integer)', '{codespar_rail}');

-- Which accounts nobody has read in full for too long, or somebody has again since that was told. Ids only, over all organisations.
CREATE FUNCTION reconciliations_lagging(p_seconds integer, p_limit integer) RETURNS TABLE (org uuid, account uuid) LANGUAGE sql STABLE AS $$
    SELECT org_id, rail_account_id FROM reconciliation_states
    WHERE lagging = (coalesce(done_at, begun_at) >= clock_timestamp() - make_interval(secs => p_seconds)) ORDER BY org_id, rail_account_id LIMIT p_limit
$$;
GRANT SELECT (done_at, begun_at, lagging) ON reconciliation_states TO codespar_scanner;
CALL definer('reconciliations_lagging(integer,integer)', '{codespar_rail}', 'codespar_scanner');

-- kinds: reconciliation.lagging, reconciliation.caught_up: one of each in turn, whoever notices. `since` is when it was last read in full.
CREATE FUNCTION reconciliation_lag(p_org uuid, p_content bytea, p_sig bytea) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    v_lags boolean;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{reconciliation.lagging,reconciliation.caught_up}');
    PERFORM system_actor(c);
    v_lags := c->>'kind' = 'reconciliation.lagging';
    UPDATE reconciliation_states SET lagging = v_lags
    WHERE org_id = p_org AND rail_account_id = unwire('key', c #>> '{data,id}') AND livemode = (c->>'livemode')::boolean AND lagging <> v_lags
      AND coalesce(done_at, begun_at) = (c #>> '{data,since}')::timestamptz;
    IF NOT FOUND THEN
        RETURN jsonb_build_object('moved', 'state');
    END IF;
    RETURN record_append(p_org, p_content, p_sig, c);
END $$;
CALL definer('reconciliation_lag(uuid,bytea,bytea)', '{codespar_rail}');

-- kinds: discrepancy.resolved.
CREATE FUNCTION discrepancy_resolve(p_org uuid, p_digest bytea, p_content bytea, p_sig bytea, p_openings jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    c jsonb;
    d jsonb;
    p principal;
    v_id uuid;
BEGIN
    PERFORM enter(p_org);
    c := record_open(p_org, p_content, '{discrepancy.resolved}');
    p := caller(p_org, p_digest, 'discrepancies:resolve', c);
    d := c->'data';
    v_id := unwire('dsc', d->>'id');
    IF p.member_id IS NULL OR NOT EXISTS (SELECT FROM discrepancies WHERE org_id = p_org AND id = v_id AND livemode = p.livemode) THEN
        PERFORM refuse('discrepancies_known', 'there is no such discrepancy, or nobody by name resolves it');
    END IF;
    IF coalesce(opened(p_openings, d->>'reason_commit'), '') = '' THEN
        PERFORM refuse('record_shape', 'a discrepancy is resolved with a reason');
    END IF;
    PERFORM head_lock(p_org);
    IF EXISTS (SELECT FROM discrepancy_resolutions WHERE org_id = p_org AND discrepancy_id = v_id) THEN
        PERFORM refuse('discrepancies_open', 'somebody has resolved this already');
    END IF;
    INSERT INTO discrepancy_resolutions (org_id, discrepancy_id, member_id, verdict, reason_commit, entry_id)
    VALUES (p_org, v_id, p.member_id, d->>'verdict', d->>'reason_commit', unwire('ent', c->>'id'));
    RETURN record_append(p_org, p_content, p_sig, c, p_openings);
END $$;
CALL definer('discrepancy_resolve(uuid,bytea,bytea,bytea,jsonb)', '{codespar_control}');

GRANT EXECUTE ON FUNCTION statement_open, statement_judged, statement_line_fixed, reconciliation_begins TO codespar_definer;
