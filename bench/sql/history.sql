-- History: so many payments more, as rows that have the shapes and sizes of the organisation's first one. Nothing here is checked or
-- signed, and the entries do not hash into a chain: what is measured is how the engine fares with so many rows behind it.

CREATE TABLE bench.history (
    n integer PRIMARY KEY,
    payment uuid NOT NULL DEFAULT uuidv7(),
    hold uuid NOT NULL DEFAULT uuidv7(),
    decision uuid NOT NULL DEFAULT uuidv7(),
    attempt uuid NOT NULL DEFAULT uuidv7(),
    result uuid NOT NULL DEFAULT uuidv7(),
    transfer uuid NOT NULL DEFAULT uuidv7(),
    authorised uuid NOT NULL DEFAULT uuidv7(),
    submitted uuid NOT NULL DEFAULT uuidv7(),
    resulted uuid NOT NULL DEFAULT uuidv7()
);

-- Copy the rows `m` that belong to the first payment `o` for each `x` of the history; `p_changes` maps columns to what stands there.
CREATE PROCEDURE bench.copy(p_table regclass, p_model text, p_changes jsonb) LANGUAGE plpgsql AS $$
DECLARE
    v_columns text := (SELECT string_agg(coalesce(p_changes->>attname::text, 'm.' || quote_ident(attname)), ', ' ORDER BY attnum)
                       FROM pg_attribute WHERE attrelid = p_table AND attnum > 0 AND NOT attisdropped);
BEGIN
    EXECUTE format('INSERT INTO %s SELECT %s FROM bench.models o JOIN %s m ON m.org_id = o.org AND %s CROSS JOIN bench.history x'
                   ' WHERE o.org = current_setting(''bench.org'')::uuid ORDER BY x.n', p_table, v_columns, p_table, p_model);
END $$;

CREATE PROCEDURE bench.fill(p_org uuid, p_payments integer) LANGUAGE plpgsql AS $$
DECLARE
    v_seq bigint := (SELECT seq FROM ledger_heads WHERE org_id = p_org);
    v_seq_of text;
BEGIN
    PERFORM set_config('bench.org', p_org::text, false), set_config('session_replication_role', 'replica', false);
    INSERT INTO bench.history (n) SELECT generate_series(1, p_payments);
    ANALYZE bench.history;
    -- An entry's place, by which of the three it is.
    v_seq_of := format('%s + 3 * x.n - CASE m.id WHEN o.resulted THEN 0 WHEN o.submitted THEN 1 ELSE 2 END', v_seq);
    CALL bench.copy('ledger_entries', 'm.id IN (o.submitted, o.resulted, (SELECT created_entry_id FROM payments p WHERE p.org_id = o.org AND p.id = o.payment))',
        jsonb_build_object('id', 'CASE m.id WHEN o.resulted THEN x.resulted WHEN o.submitted THEN x.submitted ELSE x.authorised END', 'seq', v_seq_of,
            'prev', format('sha256(int8send(%s - 1))', v_seq_of), 'leaf', format('m.leaf || int8send(%s)', v_seq_of),
            'hash', format('sha256(''\x00''::bytea || m.leaf || int8send(%s))', v_seq_of)));
    CALL bench.copy('idempotency_keys', 'm.key_hash = o.key_hash', '{"key_hash": "sha256(uuid_send(x.payment))", "subject": "wire(''pay'', x.payment)"}');
    CALL bench.copy('decisions', 'm.payment_id = o.payment', '{"id": "x.decision", "payment_id": "x.payment", "entry_id": "x.authorised"}');
    CALL bench.copy('holds', 'm.payment_id = o.payment', '{"id": "x.hold", "payment_id": "x.payment", "entry_id": "x.authorised"}');
    CALL bench.copy('payments', 'm.id = o.payment', '{"id": "x.payment", "hold_id": "x.hold", "decision_id": "x.decision",
        "rail_key": "sha256(uuid_send(x.payment))", "rail_ref": "encode(sha256(uuid_send(x.payment)), ''hex'')", "provider_id": "''bench-'' || x.payment", "created_entry_id": "x.authorised", "entry_id": "x.resulted"}');
    CALL bench.copy('payment_transitions', 'm.payment_id = o.payment', '{"payment_id": "x.payment",
        "entry_id": "CASE m.entry_id WHEN o.resulted THEN x.resulted WHEN o.submitted THEN x.submitted ELSE x.authorised END"}');
    CALL bench.copy('attempts', 'm.payment_id = o.payment', '{"id": "x.attempt", "payment_id": "x.payment",
        "rail_key": "sha256(uuid_send(x.payment))", "intent_entry_id": "x.submitted"}');
    CALL bench.copy('attempt_results', 'm.entry_id = o.resulted', '{"id": "x.result", "attempt_id": "x.attempt", "entry_id": "x.resulted",
        "provider_id": "''bench-'' || x.payment"}');
    CALL bench.copy('ledger_openings', 'm.entry_id = o.resulted', '{"entry_id": "x.resulted", "salt": "sha256(uuid_send(x.payment))",
        "commit": "sha256(sha256(uuid_send(x.payment)) || m.value)"}');
    CALL bench.copy('transfers', 'm.payment_id = o.payment', '{"id": "x.transfer", "payment_id": "x.payment", "entry_id": "x.resulted"}');
    CALL bench.copy('hold_resolutions', 'm.entry_id = o.resulted', '{"hold_id": "x.hold", "entry_id": "x.resulted"}');
    UPDATE ledger_heads h SET seq = e.seq, hash = e.hash FROM ledger_entries e
    WHERE h.org_id = p_org AND e.org_id = p_org AND e.seq = v_seq + 3 * p_payments;
    RESET session_replication_role;
END $$;
