-- Payments that have settled, and what the bank's statement says of them. What is written is what reconciliation reads; nothing is checked.

-- The payments that were made last, and the number of each one's line.
CREATE TABLE bench.paid (n integer, payment uuid, PRIMARY KEY (n));

-- So many payments more, settled a day ago, as the organisation's first one was: with attempt, step to settled and transfer each.
CREATE PROCEDURE bench.pay(p_org uuid, p_count integer) LANGUAGE plpgsql AS $$
DECLARE
    v_at text := quote_literal(clock_timestamp() - interval '1 day') || '::timestamptz';
    v_after integer := (SELECT coalesce(max(line_id::integer), 0) FROM statement_lines WHERE org_id = p_org);
BEGIN
    PERFORM set_config('bench.org', p_org::text, false), set_config('session_replication_role', 'replica', false);
    -- `bench.copy` makes a row for each one here.
    TRUNCATE bench.history, bench.paid;
    INSERT INTO bench.history (n) SELECT v_after + n FROM generate_series(1, p_count) n;
    IF v_after = 0 THEN
        -- The first payment itself has a line, too.
        DELETE FROM bench.history WHERE n = p_count;
        INSERT INTO bench.paid SELECT p_count, payment FROM bench.models WHERE org = p_org;
    END IF;
    INSERT INTO bench.paid SELECT n, payment FROM bench.history;
    ANALYZE bench.history;
    CALL bench.copy('payments', 'm.id = o.payment', jsonb_build_object('id', 'x.payment', 'rail_key', 'sha256(uuid_send(x.payment))',
        'rail_ref', 'encode(sha256(uuid_send(x.payment)), ''hex'')', 'provider_id', '''bench-'' || x.payment', 'created_at', v_at));
    CALL bench.copy('attempts', 'm.payment_id = o.payment', jsonb_build_object('id', 'x.attempt', 'payment_id', 'x.payment',
        'rail_key', 'sha256(uuid_send(x.payment))', 'created_at', v_at, 'send_by', v_at, 'submit_by', v_at));
    CALL bench.copy('payment_transitions', 'm.payment_id = o.payment AND m.to_state = ''settled''',
        jsonb_build_object('payment_id', 'x.payment', 'at', v_at || ' + x.n * interval ''1 microsecond'''));
    CALL bench.copy('transfers', 'm.payment_id = o.payment', jsonb_build_object('id', 'x.transfer', 'payment_id', 'x.payment', 'created_at', v_at));
    RESET session_replication_role;
END $$;

-- The bank's lines of these payments, as an adapter reads them.
CREATE VIEW bench.lines AS
SELECT y.org_id, x.n, jsonb_build_object('line_id', x.n::text, 'kind', 'payment', 'provider_id', y.provider_id, 'ref', y.rail_ref,
    'amount', -y.captured, 'currency', y.currency, 'party', y.rail_payee, 'at', y.created_at) AS line
FROM bench.paid x JOIN payments y ON y.id = x.payment;

-- The same as rows that were read and stored by the run `p_run`.
CREATE PROCEDURE bench.store(p_org uuid, p_run uuid) LANGUAGE sql AS $$
    INSERT INTO statement_lines (org_id, rail_account_id, line_id, kind, provider_id, ref, amount, currency, party, at, first_run, last_run)
    SELECT p_org, s.rail_account_id, t.line_id, t.kind, t.provider_id, t.ref, t.amount, t.currency, t.party, t.at, p_run, p_run
    FROM bench.lines l CROSS JOIN reconciliation_states s
    CROSS JOIN jsonb_to_record(l.line) t (line_id text, kind text, provider_id text, ref text, amount bigint, currency text, party text, at timestamptz)
    WHERE l.org_id = p_org AND s.org_id = p_org ORDER BY l.n
$$;
