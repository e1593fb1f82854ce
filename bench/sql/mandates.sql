-- So many more live mandates of an organisation's agent, as the first one is. The signed text is cut short: no revocation reads it.
-- Rows that are copies of one that was checked are not checked again.
CREATE PROCEDURE bench.mandates(p_org uuid, p_count bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('session_replication_role', 'replica', false);
    WITH made AS (
        INSERT INTO mandates (org_id, project_id, id, livemode, agent_id, profile, currency, max_amount, budget, max_uses, purposes, counterparties,
            countries, categories, rails, time_windows, not_before, expires_at, credential, kid, epochs, entry_id)
        SELECT org_id, project_id, uuidv7(), livemode, agent_id, profile, currency, max_amount, budget, max_uses, purposes, counterparties,
            countries, categories, rails, time_windows, not_before, expires_at, left(credential, 64), kid, epochs, entry_id
        FROM (SELECT * FROM mandates WHERE org_id = p_org ORDER BY id LIMIT 1) m CROSS JOIN generate_series(1, p_count)
        RETURNING org_id, id, budget, max_uses)
    INSERT INTO mandate_usages (org_id, mandate_id, budget, max_uses) SELECT org_id, id, budget, max_uses FROM made;
    RESET session_replication_role;
END $$;
