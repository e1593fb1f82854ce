-- Everything that is not money, against the records: caps, rules, roles, revocations. The form is that of books.sql; @commits is a path.

-- check: opening
SELECT e.seq, 'The opening ' || encode(o.commit, 'hex'), 'does not open a commitment of its record.'
FROM ledger_openings o LEFT JOIN ledger_entries e ON e.org_id = o.org_id AND e.id = o.entry_id
WHERE o.org_id = @org AND NOT coalesce(o.commit = sha256(o.salt || o.value)
    AND position(convert_to('"' || encode(o.commit, 'hex') || '"', 'UTF8') IN e.content) > 0, false) ORDER BY 1

-- check: opening_missing
-- Without its opening nobody can say what was committed to. Erasing one needs a record of its own, and there is none yet.
SELECT DISTINCT e.seq, 'The commitment ' || (n #>> '{}'), 'has no opening.'
FROM @entries e CROSS JOIN LATERAL jsonb_path_query(e.c, @commits::jsonpath) n
LEFT JOIN ledger_openings o ON o.org_id = @org AND encode(o.commit, 'hex') = n #>> '{}'
WHERE o.commit IS NULL ORDER BY 1

-- check: mandate
-- A cap that was raised after the mandate was signed, and a credential that is not the signed one.
SELECT e.seq, @mnd(m.id), 'is not the mandate that was issued.'
FROM mandates m JOIN @entries e ON e.id = m.entry_id
WHERE m.org_id = @org AND NOT coalesce(
    e.c #> '{data,max_amount}' = to_jsonb(m.max_amount) AND e.c #>> '{data,currency}' = m.currency
    AND (e.c #>> '{data,budget}') IS NOT DISTINCT FROM m.budget::text AND (e.c #>> '{data,max_uses}') IS NOT DISTINCT FROM m.max_uses::text
    AND (e.c #>> '{data,expires_at}')::timestamptz = m.expires_at AND e.c #>> '{data,kid}' = m.kid
    AND e.c #>> '{data,agent}' = @agt(m.agent_id) AND e.c -> 'livemode' = to_jsonb(m.livemode)
    AND e.c #>> '{data,credential_sha256}' = encode(sha256(convert_to(m.credential, 'UTF8')), 'hex'), false)

-- check: revocation
-- A revocation is for ever, whatever happened to its rows.
SELECT e.seq, e.c #>> '{data,id}', 'was revoked and is not any more.'
FROM @entries e LEFT JOIN scope_states s ON s.org_id = @org AND s.scope = e.c #>> '{data,scope}' AND s.epoch > 0
    AND @mnd(s.scope_id) = e.c #>> '{data,id}'
WHERE e.kind = 'mandate.revoked' AND s.org_id IS NULL ORDER BY 1

-- check: mandate_paused
WITH last AS (SELECT DISTINCT ON (c #>> '{data,id}') c #>> '{data,id}' AS id, seq, kind FROM @entries x
              WHERE kind IN ('mandate.paused', 'mandate.resumed') ORDER BY c #>> '{data,id}', seq DESC)
SELECT l.seq, @mnd(u.mandate_id), CASE WHEN u.paused THEN 'is paused' ELSE 'is not paused' END || ', against its records.'
FROM mandate_usages u LEFT JOIN last l ON l.id = @mnd(u.mandate_id)
WHERE u.org_id = @org AND u.paused <> coalesce(l.kind = 'mandate.paused', false)

-- check: policy_version
SELECT e.seq, @pol(v.policy_id), format('has another version %s than the one that was written.', v.version)
FROM policy_versions v JOIN @entries e ON e.id = v.entry_id
WHERE v.org_id = @org AND NOT coalesce(e.c #>> '{data,id}' = @pol(v.policy_id)
    AND e.c #> '{data,version}' = to_jsonb(v.version) AND e.c #> '{data,document}' = v.document AND e.c ->> 'actor' = v.author, false)

-- check: policy_rule
-- What the database enforces is what the document says: the same rules, with the same limits.
WITH said AS (
    SELECT v.policy_id, v.version, r ->> 'id' AS rule_id, r FROM policy_versions v
    CROSS JOIN LATERAL jsonb_array_elements(v.document -> 'rules') r WHERE v.org_id = @org
), made AS (SELECT * FROM policy_rules WHERE org_id = @org)
SELECT NULL::bigint, @pol(policy_id), format('enforces another rule %s (version %s) than its document has.', rule_id, version)
FROM said FULL JOIN made m USING (policy_id, version, rule_id)
WHERE NOT coalesce(m.effect = r ->> 'effect' AND m.window_kind IS NOT DISTINCT FROM r ->> 'window'
    AND m.max_amount::text IS NOT DISTINCT FROM r ->> 'max_amount' AND m.max_count::text IS NOT DISTINCT FROM r ->> 'max_count'
    AND m.seconds::text IS NOT DISTINCT FROM r ->> 'seconds'
    AND m.amount_over::text IS NOT DISTINCT FROM r #>> '{when,amount_over,amount}', false)

-- check: policy_activation
SELECT coalesce(e.seq, x.seq), coalesce(e.c #>> '{data,id}', @pol(a.policy_id)), 'is not active as its records say.'
FROM (SELECT * FROM @entries y WHERE kind = 'policy.activated') e
FULL JOIN (SELECT * FROM policy_activations WHERE org_id = @org) a ON a.entry_id = e.id
LEFT JOIN ledger_entries x ON x.org_id = @org AND x.id = a.entry_id
WHERE NOT coalesce(e.c #>> '{data,id}' = @pol(a.policy_id)
    AND e.c #> '{data,version}' = to_jsonb(a.version) AND e.c #>> '{data,state}' = a.state, false) ORDER BY 1

-- check: counterparty
SELECT e.seq, @ctp(k.id), 'is not the counterparty that its records say.'
FROM counterparties k JOIN @entries e ON e.id = k.entry_id
LEFT JOIN counterparty_versions v ON v.org_id = k.org_id AND v.counterparty_id = k.id AND v.version = k.version
LEFT JOIN @entries w ON w.id = v.entry_id
LEFT JOIN ledger_openings o ON o.org_id = v.org_id AND encode(o.commit, 'hex') = w.c #>> '{data,commit}'
WHERE k.org_id = @org AND NOT coalesce(v.document = convert_from(o.value, 'UTF8')::jsonb AND k.name = v.document ->> 'name'
    AND k.country IS NOT DISTINCT FROM v.document ->> 'country' AND k.category IS NOT DISTINCT FROM v.document ->> 'category'
    AND k.status = CASE e.kind WHEN 'counterparty.proposed' THEN 'proposed' WHEN 'counterparty.retired' THEN 'retired'
                   ELSE 'confirmed' END, false)

-- check: member
SELECT e.seq, @mem(m.id), 'does not have the roles that its record gave.'
FROM members m JOIN @entries e ON e.id = m.entry_id
WHERE m.org_id = @org AND NOT coalesce(CASE e.kind WHEN 'member.closed' THEN m.closed_at IS NOT NULL
    WHEN 'organisation.created' THEN m.roles = '{owner}' AND m.closed_at IS NULL
    ELSE to_jsonb(m.roles) @> (e.c #> '{data,roles}') AND to_jsonb(m.roles) <@ (e.c #> '{data,roles}') AND m.closed_at IS NULL END, false)

-- check: access_token
SELECT e.seq, @tok(t.id), 'can do other things than its record says.'
FROM access_tokens t JOIN @entries e ON e.id = t.entry_id
WHERE t.org_id = @org AND NOT EXISTS (
    SELECT FROM jsonb_path_query(e.c, '$.data.*[*]') n
    WHERE n ->> 'id' = @tok(t.id) AND to_jsonb(t.scopes) <@ (n -> 'scopes') AND (n -> 'scopes') <@ to_jsonb(t.scopes)
      AND t.expires_at <= (n ->> 'expires_at')::timestamptz
      AND n ->> 'holder' = coalesce(@agt(t.agent_id), @mem(t.member_id)))

-- check: token_revoked
SELECT e.seq, e.c #>> '{data,id}', 'was revoked and lives.'
FROM @entries e JOIN access_tokens t ON t.org_id = @org AND @tok(t.id) = e.c #>> '{data,id}'
WHERE e.kind = 'token.revoked' AND t.revoked_at IS NULL ORDER BY 1
