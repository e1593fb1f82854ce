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
-- A cap that was raised or a list that was emptied after the mandate was signed, and a credential that is not the signed one.
SELECT e.seq, @mnd(m.id), 'is not the mandate that was issued.'
FROM mandates m JOIN @entries e ON e.id = m.entry_id
WHERE m.org_id = @org AND NOT coalesce(
    e.c #> '{data,max_amount}' = to_jsonb(m.max_amount) AND e.c #>> '{data,currency}' = m.currency
    AND (e.c #>> '{data,budget}') IS NOT DISTINCT FROM m.budget::text AND (e.c #>> '{data,max_uses}') IS NOT DISTINCT FROM m.max_uses::text
    AND (e.c #>> '{data,expires_at}')::timestamptz = m.expires_at AND e.c #>> '{data,kid}' = m.kid
    AND (e.c #>> '{data,not_before}')::timestamptz IS NOT DISTINCT FROM m.not_before
    AND e.c #>> '{data,id}' = @mnd(m.id) AND e.c #>> '{data,profile}' = m.profile AND e.c ->> 'project' = @prj(m.project_id)
    AND e.c #>> '{data,agent}' = @agt(m.agent_id) AND e.c -> 'livemode' = to_jsonb(m.livemode)
    AND nullif(e.c #> '{data,purposes}', 'null') IS NOT DISTINCT FROM to_jsonb(m.purposes)
    AND nullif(e.c #> '{data,countries}', 'null') IS NOT DISTINCT FROM to_jsonb(m.countries)
    AND nullif(e.c #> '{data,categories}', 'null') IS NOT DISTINCT FROM to_jsonb(m.categories)
    AND nullif(e.c #> '{data,rails}', 'null') IS NOT DISTINCT FROM to_jsonb(m.rails)
    AND nullif(e.c #> '{data,time_windows}', 'null') IS NOT DISTINCT FROM nullif(m.time_windows, 'null')
    AND replace(nullif(e.c #> '{data,counterparties}', 'null')::text, 'ctp_', '')
        IS NOT DISTINCT FROM replace(to_jsonb(m.counterparties)::text, '-', '')
    AND e.c #>> '{data,credential_sha256}' = encode(sha256(convert_to(m.credential, 'UTF8')), 'hex'), false)

-- check: mandate_epochs
-- No record says under which epochs a mandate was signed. They only grow, so none is ahead of today's: one that is tells of a revocation undone.
SELECT e.seq, @mnd(m.id), 'was signed under epochs that have not come yet.'
FROM mandates m JOIN ledger_entries e ON e.org_id = m.org_id AND e.id = m.entry_id
WHERE m.org_id = @org AND NOT coalesce(
    (m.epochs ->> 'platform')::bigint <= (SELECT epoch FROM platform_states WHERE scope = 'platform' AND name = 'platform')
    AND (SELECT count(*) = 3 AND bool_and((m.epochs ->> n.scope)::bigint BETWEEN 0 AND coalesce(s.epoch, 0))
         FROM (VALUES ('org', m.org_id), ('project', m.project_id), ('agent', m.agent_id)) n (scope, id)
         LEFT JOIN scope_states s ON s.org_id = m.org_id AND s.livemode = m.livemode AND s.scope = n.scope AND s.scope_id = n.id), false) ORDER BY 1

-- check: revocation
-- A revocation is for ever, whatever happened to its rows.
WITH said AS (
    SELECT seq, c -> 'livemode' AS livemode, c #>> '{data,scope}' AS scope, c #>> '{data,target}' AS target FROM @entries x
    WHERE kind IN ('mandate.revoked', 'scope.revoked') AND c #>> '{data,scope}' <> 'platform')
SELECT max(e.seq), e.target, 'was revoked and is not any more.'
FROM said e LEFT JOIN scope_states s ON s.org_id = @org AND to_jsonb(s.livemode) = e.livemode AND s.scope = e.scope
    AND e.target = CASE s.scope WHEN 'mandate' THEN @mnd(s.scope_id) WHEN 'agent' THEN @agt(s.scope_id)
                   WHEN 'project' THEN @prj(s.scope_id) ELSE 'org_' || replace(s.scope_id::text, '-', '') END
GROUP BY e.livemode, e.scope, e.target HAVING coalesce(max(s.epoch), 0) < count(*) ORDER BY 1

-- check: revocation_row
SELECT e.seq, @rev(r.id), 'is not the revocation that is on record.'
FROM revocations r JOIN @entries e ON e.id = r.entry_id
WHERE r.org_id = @org AND NOT coalesce(e.kind IN ('mandate.revoked', 'scope.revoked') AND e.c #>> '{data,scope}' = r.scope
    AND e.c #>> '{data,target}' = r.target AND e.c -> 'livemode' = to_jsonb(r.livemode) AND e.c ->> 'actor' = r.initiator
    AND (e.c ->> 'at')::timestamptz = r.at AND e.c #>> '{data,reason_commit}' = r.reason_commit
    AND e.c #>> '{data,receipt_sha256}' = encode(sha256(convert_to(r.receipt, 'UTF8')), 'hex'), false)

-- check: hold_after_revocation
-- After the record of a revocation no payment was held under a mandate that was signed before it.
WITH revoked AS MATERIALIZED (
    SELECT seq, c -> 'livemode' AS livemode, c #>> '{data,scope}' AS scope, c #>> '{data,target}' AS target FROM @entries x
    WHERE kind IN ('mandate.revoked', 'scope.revoked')
), held AS MATERIALIZED (
    SELECT seq, substr(c #>> '{data,payment,id}', 5)::uuid AS payment FROM @entries x
    WHERE kind IN ('payment.authorized', 'payment.approved', 'payment.executed') AND c -> 'parts' @> '[{"part": "hold"}]' AND seq > (SELECT min(seq) FROM revoked))
SELECT h.seq, @pay(y.id), format('was held after the %s of its mandate was revoked.', r.scope)
FROM held h JOIN payments y ON y.org_id = @org AND y.id = h.payment
JOIN mandates m ON m.org_id = @org AND m.id = y.mandate_id JOIN ledger_entries i ON i.org_id = @org AND i.id = m.entry_id
JOIN revoked r ON r.seq < h.seq AND r.seq > i.seq AND r.livemode = to_jsonb(m.livemode)
    AND CASE r.scope WHEN 'org' THEN true WHEN 'project' THEN r.target = @prj(m.project_id)
        WHEN 'agent' THEN r.target = @agt(m.agent_id) WHEN 'mandate' THEN r.target = @mnd(m.id) ELSE true END
ORDER BY 1

-- check: stop_row
SELECT e.seq, @stp(s.id), 'is not the stop that is on record.'
FROM stops s JOIN @entries e ON e.id = s.entry_id
WHERE s.org_id = @org AND NOT coalesce(e.kind = 'scope.stopped' AND e.c #>> '{data,scope}' = s.scope AND e.c #>> '{data,target}' = s.target
    AND e.c -> 'livemode' = to_jsonb(s.livemode) AND e.c ->> 'actor' = s.initiator AND (e.c ->> 'at')::timestamptz = s.at
    AND e.c #>> '{data,reason_commit}' = s.reason_commit
    AND e.c #>> '{data,receipt_sha256}' IS NOT DISTINCT FROM encode(sha256(convert_to(s.receipt, 'UTF8')), 'hex'), false)

-- check: stop_lift
-- Who lifted what: no stop ends without the word of another person.
SELECT coalesce(e.seq, x.seq), coalesce(e.c #>> '{data,stop}', @stp(l.stop_id)), 'was not lifted as its record says.'
FROM (SELECT * FROM @entries y WHERE kind = 'scope.lifted') e
FULL JOIN (SELECT * FROM stop_lifts WHERE org_id = @org) l ON l.entry_id = e.id
LEFT JOIN ledger_entries x ON x.org_id = @org AND x.id = l.entry_id
WHERE NOT coalesce(e.c #>> '{data,stop}' = @stp(l.stop_id) AND e.c ->> 'actor' = l.lifted_by AND (e.c ->> 'at')::timestamptz = l.at
    AND e.c #>> '{data,reason_commit}' = l.reason_commit AND l.lifted_by <> l.initiator, false) ORDER BY 1

-- check: stop_flag
SELECT e.seq, @stp(s.id), format('stopped the %s %s, nobody lifted it, and it is not stopped.', s.scope, s.target)
FROM stops s JOIN ledger_entries e ON e.org_id = s.org_id AND e.id = s.entry_id
WHERE s.org_id = @org AND NOT EXISTS (SELECT FROM @entries l WHERE l.kind = 'scope.lifted' AND l.c #>> '{data,stop}' = @stp(s.id))
    AND NOT EXISTS (SELECT FROM scope_states t WHERE t.org_id = @org AND t.livemode = s.livemode AND t.scope = s.scope
                    AND t.scope_id = s.scope_id AND t.stopped)
    AND NOT EXISTS (SELECT FROM platform_states t WHERE s.scope_id IS NULL AND t.scope = s.scope AND t.name = s.target AND t.stopped) ORDER BY 1

-- check: hold_after_stop
-- Between the record of a stop and the record that lifts it, nothing was held under it.
WITH stopped AS MATERIALIZED (
    SELECT seq, c -> 'livemode' AS livemode, c #>> '{data,stop}' AS stop, c #>> '{data,scope}' AS scope, c #>> '{data,target}' AS target
    FROM @entries x WHERE kind = 'scope.stopped'
), lifted AS MATERIALIZED (
    SELECT seq, c #>> '{data,stop}' AS stop FROM @entries x WHERE kind = 'scope.lifted'
), held AS MATERIALIZED (
    SELECT seq, c -> 'livemode' AS livemode, substr(c #>> '{data,payment,id}', 5)::uuid AS payment FROM @entries x
    WHERE kind IN ('payment.authorized', 'payment.approved', 'payment.executed') AND c -> 'parts' @> '[{"part": "hold"}]' AND seq > (SELECT min(seq) FROM stopped))
SELECT h.seq, @pay(y.id), format('was held while the %s %s was stopped.', s.scope, s.target)
FROM held h JOIN payments y ON y.org_id = @org AND y.id = h.payment
JOIN stopped s ON s.seq < h.seq AND s.livemode = h.livemode AND NOT EXISTS (SELECT FROM lifted l WHERE l.stop = s.stop AND l.seq < h.seq)
    AND CASE s.scope WHEN 'org' THEN true WHEN 'project' THEN s.target = @prj(y.project_id) WHEN 'agent' THEN s.target = @agt(y.agent_id)
        WHEN 'mandate' THEN s.target = @mnd(y.mandate_id) WHEN 'counterparty' THEN s.target = @ctp(y.counterparty_id)
        WHEN 'rail' THEN s.target = y.rail ELSE true END
ORDER BY 1

-- check: webhook_endpoint
-- People are told where they said, and of what they said.
WITH last AS (SELECT DISTINCT ON (c #>> '{data,id}') c #>> '{data,id}' AS id, seq, c FROM @entries x
              WHERE kind IN ('webhook_endpoint.created', 'webhook_endpoint.updated') ORDER BY c #>> '{data,id}', seq DESC)
SELECT e.seq, @whe(w.id), 'is not told where or of what its record says.'
FROM webhook_endpoints w JOIN last e ON e.id = @whe(w.id) LEFT JOIN ledger_openings o ON o.org_id = @org AND encode(o.commit, 'hex') = e.c #>> '{data,url_commit}'
WHERE w.org_id = @org AND NOT coalesce(convert_from(o.value, 'UTF8') = w.url AND e.c #> '{data,types}' = to_jsonb(w.types)
    AND e.c -> 'livemode' = to_jsonb(w.livemode), false) ORDER BY 1

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

-- check: policy
-- Whose policy it is: a policy that was moved to another scope or mode no longer speaks where it was written for.
SELECT e.seq, @pol(o.id), 'is not the policy that was written.'
FROM policies o JOIN @entries e ON e.id = o.entry_id
WHERE o.org_id = @org AND NOT coalesce(e.c #>> '{data,id}' = @pol(o.id) AND e.c #>> '{data,name}' = o.name
    AND e.c -> 'livemode' = to_jsonb(o.livemode) AND e.c #>> '{data,scope}' = o.scope
    AND (o.scope = 'org' OR substr(e.c #>> '{data,scope_id}', 5) = replace(o.scope_id::text, '-', '')), false)

-- check: policy_rule
-- What the database enforces is what the document says: the same rules, which speak of the same payments and set the same limits.
WITH said AS (
    SELECT v.policy_id, v.version, v.document, r ->> 'id' AS rule_id, r, r -> 'when' AS w FROM policy_versions v
    CROSS JOIN LATERAL jsonb_array_elements(v.document -> 'rules') r WHERE v.org_id = @org
), made AS (SELECT * FROM policy_rules WHERE org_id = @org)
SELECT NULL::bigint, @pol(policy_id), format('enforces another rule %s (version %s) than its document has.', rule_id, version)
FROM said FULL JOIN made m USING (policy_id, version, rule_id)
WHERE NOT coalesce(m.effect = r ->> 'effect' AND m.window_kind IS NOT DISTINCT FROM r ->> 'window'
    AND m.max_amount::text IS NOT DISTINCT FROM r ->> 'max_amount' AND m.max_count::text IS NOT DISTINCT FROM r ->> 'max_count'
    AND m.seconds::text IS NOT DISTINCT FROM r ->> 'seconds'
    AND m.amount_over::text IS NOT DISTINCT FROM w #>> '{amount_over,amount}'
    AND m.currency IS NOT DISTINCT FROM coalesce(r ->> 'currency', w #>> '{amount_over,currency}')
    AND to_jsonb(m.per) = coalesce(r -> 'per', '[]')
    AND m.unknown_category = (coalesce(document ->> 'unknown_category', 'deny') = 'allow')
    AND replace(to_jsonb(m.counterparties)::text, '-', '') IS NOT DISTINCT FROM replace((w -> 'counterparties')::text, 'ctp_', '')
    AND to_jsonb(m.countries) IS NOT DISTINCT FROM w -> 'countries' AND to_jsonb(m.categories) IS NOT DISTINCT FROM w -> 'categories'
    AND to_jsonb(m.purposes) IS NOT DISTINCT FROM w -> 'purposes' AND to_jsonb(m.rails) IS NOT DISTINCT FROM w -> 'rails'
    AND to_jsonb(m.currencies) IS NOT DISTINCT FROM w -> 'currencies' AND m.time_windows IS NOT DISTINCT FROM w -> 'time', false)

-- check: policy_activation
-- The epochs of a mode are the order of its records: the last one is in force.
SELECT coalesce(e.seq, x.seq), coalesce(e.c #>> '{data,id}', @pol(a.policy_id)), 'is not active as its records say.'
FROM (SELECT *, row_number() OVER (PARTITION BY c -> 'livemode' ORDER BY seq) AS epoch FROM @entries y WHERE kind = 'policy.activated') e
FULL JOIN (SELECT * FROM policy_activations WHERE org_id = @org) a ON a.entry_id = e.id
LEFT JOIN ledger_entries x ON x.org_id = @org AND x.id = a.entry_id
WHERE NOT coalesce(e.c #>> '{data,id}' = @pol(a.policy_id) AND a.epoch = e.epoch AND e.c ->> 'actor' = a.author
    AND e.c #> '{data,version}' = to_jsonb(a.version) AND e.c #>> '{data,state}' = a.state, false) ORDER BY 1

-- check: counter_selector
-- What is counted is what a rule in force or in shadow ever needed: without its selector a limit counts nothing more.
WITH needed AS (
    SELECT DISTINCT o.livemode, CASE r.effect WHEN 'limit' THEN o.scope ELSE 'org' END AS scope,
           CASE r.effect WHEN 'limit' THEN o.scope_id ELSE o.org_id END AS scope_id,
           ARRAY(SELECT DISTINCT x FROM unnest(r.per) x ORDER BY x) AS per, coalesce(r.currency, '*') AS currency,
           coalesce(r.window_kind, 'same') AS window_kind, true AS needed
    FROM policy_activations a JOIN policies o ON o.org_id = a.org_id AND o.id = a.policy_id
    JOIN policy_rules r ON r.org_id = a.org_id AND r.policy_id = a.policy_id AND r.version = a.version
    WHERE a.org_id = @org AND a.state <> 'retired' AND (r.effect = 'fingerprint' OR (r.effect = 'limit' AND r.window_kind <> 'payment'))
), counted AS (SELECT *, true AS counted FROM counter_selectors WHERE org_id = @org)
SELECT NULL::bigint, format('A limit per %s of the %s %s', window_kind, scope, scope_id),
       CASE WHEN needed THEN 'is not counted any more.' ELSE 'is counted and stands in no policy.' END
FROM needed FULL JOIN counted USING (livemode, scope, scope_id, per, currency, window_kind) WHERE needed IS NULL OR counted IS NULL

-- check: counterparty
SELECT e.seq, @ctp(k.id), 'is not the counterparty that its records say.'
FROM counterparties k JOIN @entries e ON e.id = k.entry_id
LEFT JOIN counterparty_versions v ON v.org_id = k.org_id AND v.counterparty_id = k.id AND v.version = k.version
LEFT JOIN @entries w ON w.id = v.entry_id
LEFT JOIN ledger_openings o ON o.org_id = v.org_id AND encode(o.commit, 'hex') = w.c #>> '{data,commit}'
WHERE k.org_id = @org AND NOT coalesce(v.document = convert_from(o.value, 'UTF8')::jsonb AND k.name = v.document ->> 'name'
    AND v.author = w.c ->> 'actor' AND e.c -> 'livemode' = to_jsonb(k.livemode) AND e.c #>> '{data,id}' = @ctp(k.id)
    AND k.version = CASE WHEN e.kind IN ('counterparty.created', 'counterparty.proposed') THEN 1
                    ELSE (e.c #>> '{data,from_version}')::integer + CASE e.kind WHEN 'counterparty.updated' THEN 1 ELSE 0 END END
    AND k.country IS NOT DISTINCT FROM v.document ->> 'country' AND k.category IS NOT DISTINCT FROM v.document ->> 'category'
    AND k.status = CASE e.kind WHEN 'counterparty.proposed' THEN 'proposed' WHEN 'counterparty.retired' THEN 'retired'
                   ELSE 'confirmed' END, false)

-- check: member
SELECT e.seq, @mem(m.id), 'does not have the roles that its record gave.'
FROM members m JOIN @entries e ON e.id = m.entry_id
WHERE m.org_id = @org AND NOT coalesce(CASE e.kind WHEN 'member.closed' THEN m.closed_at IS NOT NULL
    WHEN 'organisation.created' THEN m.roles = '{owner}' AND m.closed_at IS NULL
    ELSE to_jsonb(m.roles) @> (e.c #> '{data,roles}') AND to_jsonb(m.roles) <@ (e.c #> '{data,roles}') AND m.closed_at IS NULL END, false)

-- check: login
WITH last AS (SELECT DISTINCT ON (c #>> '{data,id}') c #>> '{data,id}' AS id, seq, c #>> '{data,password_sha256}' AS said FROM @entries x
              WHERE kind = 'member.login_set' ORDER BY c #>> '{data,id}', seq DESC)
SELECT l.seq, @mem(m.id), 'logs in with another password than the one that was set.'
FROM members m LEFT JOIN last l ON l.id = @mem(m.id)
WHERE m.org_id = @org AND NOT CASE WHEN l.id IS NULL THEN m.password = '!'
    ELSE encode(sha256(convert_to(m.password, 'UTF8')), 'hex') = l.said END ORDER BY 1

-- check: agent
SELECT e.seq, @agt(a.id), 'is not the agent that its record made.'
FROM agents a JOIN @entries e ON e.id = a.entry_id AND e.kind = 'agent.created'
WHERE a.org_id = @org AND NOT coalesce(e.c ->> 'project' = @prj(a.project_id) AND e.c -> 'livemode' = to_jsonb(a.livemode)
    AND e.c #>> '{data,name}' = a.name AND e.c #> '{data,public_jwk}' = a.public_jwk AND e.c #>> '{data,thumbprint}' = a.thumbprint, false)

-- check: access_token
SELECT e.seq, @tok(t.id), 'can do other things than its record says.'
FROM access_tokens t JOIN @entries e ON e.id = t.entry_id
WHERE t.org_id = @org AND NOT EXISTS (
    SELECT FROM jsonb_path_query(e.c, '$.data.*[*]') n
    WHERE n ->> 'id' = @tok(t.id) AND to_jsonb(t.scopes) <@ (n -> 'scopes') AND (n -> 'scopes') <@ to_jsonb(t.scopes)
      AND t.expires_at <= (n ->> 'expires_at')::timestamptz AND n -> 'livemode' = to_jsonb(t.livemode)
      AND n ->> 'holder' = coalesce(@agt(t.agent_id), @mem(t.member_id)))

-- check: token_revoked
SELECT e.seq, e.c #>> '{data,id}', 'was revoked and lives.'
FROM @entries e JOIN access_tokens t ON t.org_id = @org AND @tok(t.id) = e.c #>> '{data,id}'
WHERE e.kind = 'token.revoked' AND t.revoked_at IS NULL ORDER BY 1

-- check: consent
-- What a holder allows is what was asked for: never more, never for longer.
SELECT e.seq, @cns(k.id), 'allows something else than its record says.'
FROM consents k JOIN @entries e ON e.kind = 'consent.registered' AND e.c #>> '{data,id}' = @cns(k.id)
WHERE k.org_id = @org AND NOT coalesce(e.c #>> '{data,rail}' = k.rail AND e.c -> 'livemode' = to_jsonb(k.livemode) AND e.c #> '{data,scopes}' = to_jsonb(k.scopes)
    AND (e.c #>> '{data,max_payment}') IS NOT DISTINCT FROM k.max_payment::text AND (e.c #>> '{data,max_total}') IS NOT DISTINCT FROM k.max_total::text
    AND (e.c #>> '{data,currency}') IS NOT DISTINCT FROM k.currency AND k.expires_at <= (e.c #>> '{data,expires_at}')::timestamptz
    AND e.c ->> 'actor' = k.requested_by, false) ORDER BY 1

-- check: consent_over
SELECT e.seq, e.c #>> '{data,id}', 'was over and is not any more.'
FROM @entries e JOIN consents k ON k.org_id = @org AND @cns(k.id) = e.c #>> '{data,id}'
WHERE (e.kind = 'consent.revoked' AND k.status <> 'revoked')
   OR (e.kind = 'consent.answered' AND e.c #>> '{data,status}' IN ('revoked', 'rejected', 'failed') AND k.status <> e.c #>> '{data,status}') ORDER BY 1

-- check: payment_consent
SELECT h.seq, @pay(y.id), 'is paid under another consent than its record says.'
FROM @entries h JOIN payments y ON y.org_id = @org AND @pay(y.id) = h.c #>> '{data,payment,id}'
WHERE h.kind IN ('payment.authorized', 'payment.approved', 'payment.executed') AND h.c -> 'parts' @> '[{"part": "hold"}]'
  AND h.c #>> '{data,payment,consent}' IS DISTINCT FROM CASE WHEN y.consent_id IS NOT NULL THEN @cns(y.consent_id) END ORDER BY 1

-- check: hold_after_consent
-- After the record of a consent's end nothing was held under it.
WITH ended AS MATERIALIZED (
    SELECT seq, c #>> '{data,id}' AS consent FROM @entries x
    WHERE kind = 'consent.revoked' OR (kind = 'consent.answered' AND c #>> '{data,status}' IN ('revoked', 'rejected', 'failed')))
SELECT h.seq, h.c #>> '{data,payment,id}', 'was held after its consent had ended.'
FROM @entries h JOIN ended r ON r.consent = h.c #>> '{data,payment,consent}' AND r.seq < h.seq
WHERE h.kind IN ('payment.authorized', 'payment.approved', 'payment.executed') AND h.c -> 'parts' @> '[{"part": "hold"}]' ORDER BY 1
