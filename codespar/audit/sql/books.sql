-- The books against themselves and against the records: each query finds what breaks one promise, as (seq or null, what, how).
-- @org is the organisation, @entries its entries with their contents as JSON, @pay(x) the id x as it stands in records.

-- check: balance
-- Every balance is the sum of what moved it: transfers, holds, and what holds gave back.
WITH moves (account, available, held) AS (
    SELECT credit_id, amount, 0 FROM transfers WHERE org_id = @org
    UNION ALL SELECT debit_id, CASE WHEN from_held THEN 0 ELSE -amount END, CASE WHEN from_held THEN -amount ELSE 0 END
        FROM transfers WHERE org_id = @org
    UNION ALL SELECT wallet_id, -amount, amount FROM holds WHERE org_id = @org
    UNION ALL SELECT h.wallet_id, r.released, -r.released FROM hold_resolutions r
        JOIN holds h ON h.org_id = r.org_id AND h.id = r.hold_id WHERE r.org_id = @org
), sums AS (SELECT account, sum(available) AS available, sum(held) AS held FROM moves GROUP BY account)
SELECT NULL::bigint, a.kind || ' ' || @wal(a.id),
       format('has %s available and %s held; its transfers and holds make %s and %s.', a.available, a.held,
              coalesce(s.available, 0), coalesce(s.held, 0))
FROM accounts a LEFT JOIN sums s ON s.account = a.id
WHERE a.org_id = @org AND a.kind IN ('wallet', 'main')
  AND (a.available IS DISTINCT FROM coalesce(s.available, 0) OR a.held IS DISTINCT FROM coalesce(s.held, 0))

-- check: mandate_usage
-- A mandate has spent what its holds took, less what was released: a release of all of it gives the use back, too.
WITH sums AS (
    SELECT h.mandate_id, sum(h.amount - coalesce(r.released, 0)) AS spent, count(*) FILTER (WHERE coalesce(r.released, 0) < h.amount) AS uses
    FROM holds h LEFT JOIN hold_resolutions r ON r.org_id = h.org_id AND r.hold_id = h.id
    WHERE h.org_id = @org GROUP BY h.mandate_id)
SELECT NULL::bigint, @mnd(m.id),
       format('has spent %s in %s uses; its holds make %s in %s.', u.spent, u.uses, coalesce(s.spent, 0), coalesce(s.uses, 0))
FROM mandates m LEFT JOIN mandate_usages u ON u.org_id = m.org_id AND u.mandate_id = m.id LEFT JOIN sums s ON s.mandate_id = m.id
WHERE m.org_id = @org AND (u.spent IS DISTINCT FROM coalesce(s.spent, 0) OR u.uses IS DISTINCT FROM coalesce(s.uses, 0)
    OR u.budget IS DISTINCT FROM m.budget OR u.max_uses IS DISTINCT FROM m.max_uses)

-- check: hold
SELECT e.seq, @hld(h.id), 'is not the hold that its record made.'
FROM holds h JOIN @entries e ON e.id = h.entry_id
WHERE h.org_id = @org AND NOT coalesce(
    e.c #>> '{data,payment,id}' = @pay(h.payment_id) AND e.c #> '{data,payment,amount}' = to_jsonb(h.amount)
    AND e.c #>> '{data,payment,currency}' = h.currency AND e.c #>> '{data,payment,mandate}' = @mnd(h.mandate_id)
    AND e.c #>> '{data,payment,wallet}' = @wal(h.wallet_id) AND e.c -> 'livemode' = to_jsonb(h.livemode)
    AND EXISTS (SELECT FROM jsonb_array_elements(e.c -> 'parts') p WHERE p ->> 'part' = 'hold'
        AND p ->> 'id' = @hld(h.id) AND p -> 'amount' = to_jsonb(h.amount)), false)

-- check: transfer
SELECT e.seq, @tr(t.id), format('(%s) does not move what its record says.', t.kind)
FROM transfers t JOIN @entries e ON e.id = t.entry_id
LEFT JOIN payments y ON y.org_id = t.org_id AND y.id = t.payment_id
LEFT JOIN refunds f ON t.kind = 'refund' AND f.org_id = t.org_id AND @ref(f.id) = e.c #>> '{data,refund,id}'
WHERE t.org_id = @org AND NOT coalesce(e.c -> 'livemode' = to_jsonb(t.livemode) AND CASE
    WHEN t.kind IN ('fund', 'return_to_main', 'deposit') THEN
        e.c #>> '{data,transfer}' = @tr(t.id) AND e.c #> '{data,amount}' = to_jsonb(t.amount)
        AND e.c #>> '{data,currency}' = t.currency
        AND e.kind = CASE t.kind WHEN 'fund' THEN 'wallet.funded' WHEN 'deposit' THEN 'credit.confirmed' ELSE 'wallet.returned' END
        AND (t.kind = 'deposit' OR e.c #>> '{data,wallet}' =
             CASE t.kind WHEN 'fund' THEN @wal(t.credit_id) ELSE @wal(t.debit_id) END)
    WHEN t.kind = 'settled_late' THEN
        e.kind = 'payment.settled_late' AND e.c #>> '{data,payment,id}' = @pay(t.payment_id) AND t.currency = y.currency
        AND @tr(t.id) = e.c #>> CASE t.debit_kind WHEN 'wallet' THEN '{data,payment,wallet_transfer}'::text[] ELSE '{data,payment,receivable_transfer}' END
        AND t.amount = CASE t.debit_kind WHEN 'wallet' THEN (e.c #>> '{data,payment,from_wallet}')::bigint
            ELSE (e.c #>> '{data,payment,amount}')::bigint - (e.c #>> '{data,payment,from_wallet}')::bigint END
    WHEN t.kind = 'capture' THEN
        t.currency = y.currency AND t.debit_id = y.wallet_id AND t.mandate_id = y.mandate_id
        AND EXISTS (SELECT FROM jsonb_array_elements(e.c #> '{data,items}') i WHERE i ->> 'transfer' = @tr(t.id)
            AND i ->> 'payment' = @pay(t.payment_id) AND i ->> 'to' IN ('settled', 'written_off')
            AND t.amount = CASE i ->> 'result' WHEN 'canceled' THEN (i ->> 'moved')::bigint ELSE y.amount END)
    ELSE e.c #>> '{data,refund,transfer}' = @tr(t.id) AND e.c #>> '{data,refund,payment}' = @pay(t.payment_id)
        AND f.payment_id = t.payment_id AND t.amount = f.amount AND t.currency = y.currency END, false)

-- check: payment
-- What was asked for is what the first record of the payment says, and the whole of it stays; how a scheduled one is paid says the record of
-- its time.
SELECT e.seq, @pay(y.id), 'is not the payment that its record made.'
FROM payments y JOIN @entries e ON e.id = y.created_entry_id
LEFT JOIN payment_transitions t ON t.org_id = y.org_id AND t.payment_id = y.id AND t.from_state = 'scheduled'
LEFT JOIN @entries n ON n.id = t.entry_id AND n.kind = 'payment.executed'
WHERE y.org_id = @org AND NOT coalesce(
    e.c #>> '{data,payment,id}' = @pay(y.id) AND e.c #> '{data,payment,amount}' = to_jsonb(y.amount)
    AND e.c #>> '{data,payment,currency}' = y.currency AND e.c #>> '{data,payment,purpose}' = y.purpose
    AND coalesce(e.c #>> '{data,payment,rail}', n.c #>> '{data,payment,rail}') IS NOT DISTINCT FROM y.rail
    AND coalesce(e.c #>> '{data,payment,account}', n.c #>> '{data,payment,account}') IS NOT DISTINCT FROM y.account_id
    AND (e.c #>> '{data,payment,execute_at}')::timestamptz IS NOT DISTINCT FROM y.execute_at
    AND e.c -> 'livemode' = to_jsonb(y.livemode) AND e.c ->> 'actor' = @agt(y.agent_id)
    AND e.c ->> 'project' = @prj(y.project_id)
    AND (e.kind = 'payment.denied' OR (e.c #>> '{data,payment,transaction_id}' IS NOT DISTINCT FROM y.transaction_id
         AND e.c #>> '{data,payment,presentation}' IS NOT DISTINCT FROM y.presentation))
    AND (y.mandate_id IS NULL OR e.c #>> '{data,payment,mandate}' = @mnd(y.mandate_id))
    AND (y.counterparty_id IS NULL OR e.c #>> '{data,payment,counterparty}' = @ctp(y.counterparty_id)), false)

-- check: transition
-- Both directions: no step without a record that names it, no recorded step without its row.
WITH said AS (
    SELECT e.id, e.seq, p ->> 'subject' AS subject, p ->> 'from' AS origin, p ->> 'to' AS target
    FROM @entries e CROSS JOIN LATERAL jsonb_array_elements(e.c -> 'parts') p
    WHERE p ->> 'part' = 'transition' AND p ->> 'subject' LIKE 'pay\_%'
), made AS (
    SELECT t.entry_id AS id, x.seq AS made_seq, @pay(t.payment_id) AS subject, t.from_state AS origin, t.to_state AS target, true AS made
    FROM payment_transitions t LEFT JOIN ledger_entries x ON x.org_id = t.org_id AND x.id = t.entry_id WHERE t.org_id = @org)
SELECT coalesce(seq, made_seq), subject, format('%s from %s to %s %s.',
       CASE WHEN made THEN 'went' ELSE 'was recorded as going' END, origin, target,
       CASE WHEN made THEN 'without a record that says so' ELSE 'and did not' END)
FROM said FULL JOIN made USING (id, subject, origin, target) WHERE seq IS NULL OR made IS NULL ORDER BY 1

-- check: payment_state
-- The steps of a payment follow one another, and its state is where they end.
WITH steps AS (
    SELECT t.payment_id, e.seq, t.from_state, t.to_state, lag(t.to_state, 1, 'new') OVER w AS before, lead(e.seq) OVER w AS next
    FROM payment_transitions t JOIN ledger_entries e ON e.org_id = t.org_id AND e.id = t.entry_id
    WHERE t.org_id = @org WINDOW w AS (PARTITION BY t.payment_id ORDER BY e.seq))
SELECT s.seq, @pay(y.id), CASE WHEN s.seq IS NULL THEN 'has never made a step.'
    ELSE format('is %s; its steps go from %s (after %s) to %s.', y.status, s.from_state, s.before, s.to_state) END
FROM payments y LEFT JOIN steps s ON s.payment_id = y.id
WHERE y.org_id = @org AND (s.seq IS NULL OR s.from_state <> s.before OR (s.next IS NULL AND s.to_state <> y.status))

-- check: payment_sums
WITH moved AS (
    SELECT payment_id, sum(amount) FILTER (WHERE kind IN ('capture', 'settled_late')) AS captured,
           sum(amount) FILTER (WHERE kind = 'refund') AS refunded
    FROM transfers WHERE org_id = @org AND payment_id IS NOT NULL GROUP BY payment_id
), asked AS (
    SELECT payment_id, sum(amount) FILTER (WHERE status NOT IN ('settled', 'failed')) AS refunding,
           sum(amount) FILTER (WHERE status = 'settled') AS settled
    FROM refunds WHERE org_id = @org GROUP BY payment_id)
SELECT NULL::bigint, @pay(y.id),
       format('says %s captured, %s refunded and %s on the way back; its transfers and refunds make %s, %s and %s.', y.captured, y.refunded,
              y.refunding, coalesce(m.captured, 0), coalesce(m.refunded, 0), coalesce(a.refunding, 0))
FROM payments y LEFT JOIN moved m ON m.payment_id = y.id LEFT JOIN asked a ON a.payment_id = y.id
WHERE y.org_id = @org AND (y.captured <> coalesce(m.captured, 0) OR y.refunded <> coalesce(m.refunded, 0)
    OR y.refunded <> coalesce(a.settled, 0) OR y.refunding <> coalesce(a.refunding, 0))

-- check: hold_end
-- A hold is resolved when, and only when, its payment came to an end, and the way it ended.
SELECT x.seq, @pay(y.id), format('is %s; of its hold %s was captured and %s released.', y.status,
       coalesce(r.captured::text, 'nothing'), coalesce(r.released::text, 'nothing'))
FROM payments y JOIN holds h ON h.org_id = y.org_id AND h.payment_id = y.id
LEFT JOIN hold_resolutions r ON r.org_id = h.org_id AND r.hold_id = h.id
LEFT JOIN ledger_entries x ON x.org_id = y.org_id AND x.id = coalesce(r.entry_id, y.entry_id)
WHERE y.org_id = @org AND NOT CASE
    WHEN y.status IN ('authorized', 'submitted', 'uncertain') THEN r.hold_id IS NULL
    WHEN y.status IN ('settled', 'reversing', 'reversed') THEN coalesce(y.captured > 0 AND r.captured = y.captured - coalesce((
        SELECT sum(t.amount) FROM transfers t WHERE t.org_id = @org AND t.payment_id = y.id AND t.kind = 'settled_late'), 0), false)
    WHEN y.status IN ('failed', 'canceled', 'expired') THEN coalesce(r.released = h.amount, false) ELSE true END

-- check: refund
SELECT e.seq, @ref(f.id), 'is not the refund that its record asked for.'
FROM refunds f LEFT JOIN @entries e ON e.kind IN ('refund.requested', 'refund.initiated') AND e.c #>> '{data,refund,id}' = @ref(f.id)
WHERE f.org_id = @org AND NOT coalesce(e.c #> '{data,refund,amount}' = to_jsonb(f.amount)
    AND e.c #>> '{data,refund,payment}' = @pay(f.payment_id) AND e.c ->> 'actor' = f.requested_by, false)

-- check: refund_state
WITH said AS (
    SELECT DISTINCT ON (c #>> '{data,refund,id}') c #>> '{data,refund,id}' AS id, seq, kind, c #> '{data,refund}' AS r FROM @entries x
    WHERE kind IN ('refund.requested', 'refund.initiated', 'refund.submitted', 'refund.resulted') ORDER BY c #>> '{data,refund,id}', seq DESC
), ends AS (
    SELECT id, seq, CASE WHEN kind IN ('refund.requested', 'refund.initiated') THEN 'authorized' WHEN kind = 'refund.submitted' THEN 'submitted'
                    ELSE coalesce(r ->> 'to', r ->> 'from') END AS status, CASE kind WHEN 'refund.resulted' THEN r ->> 'code' END AS code
    FROM said)
SELECT s.seq, @ref(f.id), format('is %s (%s); its last record makes it %s (%s).', f.status, coalesce(f.code, 'no code'),
       coalesce(s.status, 'nothing'), coalesce(s.code, 'no code'))
FROM refunds f LEFT JOIN ends s ON s.id = @ref(f.id)
WHERE f.org_id = @org AND (f.status IS DISTINCT FROM s.status OR f.code IS DISTINCT FROM s.code) ORDER BY 1

-- check: attempt
-- Who may send, under which key and until when.
SELECT e.seq, @att(a.id), 'is not the attempt that its record announced.'
FROM attempts a JOIN @entries e ON e.id = a.intent_entry_id
LEFT JOIN payments y ON y.org_id = a.org_id AND y.id = a.payment_id
LEFT JOIN refunds f ON f.org_id = a.org_id AND f.id = a.refund_id
WHERE a.org_id = @org AND NOT EXISTS (
    SELECT FROM jsonb_array_elements(coalesce(e.c #> '{data,items}', jsonb_build_array(e.c #> '{data,refund}'))) i
    WHERE i ->> 'attempt' = @att(a.id) AND i ->> 'worker' = a.worker AND (i ->> 'send_by')::timestamptz = a.send_by
      AND i ->> 'rail' = a.rail AND y.rail = a.rail AND i ->> 'rail_key' = encode(a.rail_key, 'hex')
      AND CASE a.operation WHEN 'pay' THEN e.kind = 'payments.submitted' AND i ->> 'payment' = @pay(a.payment_id) AND y.rail_key = a.rail_key
          WHEN 'refund' THEN e.kind = 'refund.submitted' AND i ->> 'id' = @ref(a.refund_id) AND f.payment_id = a.payment_id AND f.rail_key = a.rail_key
          ELSE e.kind = 'payments.followed' AND i ->> 'operation' = a.operation AND i ->> 'payment' = @pay(a.payment_id)
               AND y.rail_key = a.rail_key END)

-- check: attempt_result
SELECT e.seq, @evt(r.id), 'is not what the rail said, by its record.'
FROM attempt_results r JOIN @entries e ON e.id = r.entry_id
WHERE r.org_id = @org AND NOT EXISTS (
    SELECT FROM jsonb_array_elements(coalesce(e.c #> '{data,items}', jsonb_build_array(e.c #> '{data,refund}'))) i
    WHERE coalesce(i ->> 'event', i ->> 'id') = @evt(r.id) AND i ->> 'attempt' = @att(r.attempt_id)
      AND i ->> 'source' = r.source AND i ->> 'result' = r.result AND i ->> 'code' = r.code
      AND i ->> 'proof' IS NOT DISTINCT FROM r.proof AND i ->> 'moved' IS NOT DISTINCT FROM r.moved::text AND i ->> 'provider_id' IS NOT DISTINCT FROM r.provider_id)

-- check: decision
SELECT e.seq, @dec(d.id), 'is not the decision that its record tells of.'
FROM decisions d JOIN @entries e ON e.id = d.entry_id
LEFT JOIN payments y ON y.org_id = d.org_id AND y.id = d.payment_id
WHERE d.org_id = @org AND NOT coalesce(e.c #>> '{data,payment,id}' = @pay(d.payment_id)
    AND ((d.facts).org, (d.facts).livemode, (d.facts).project, (d.facts).agent, (d.facts).purpose, (d.facts).amount, (d.facts).currency)
        = (y.org_id, y.livemode, y.project_id, y.agent_id, y.purpose, y.amount, y.currency)
    -- Which rail a scheduled payment takes is decided when its time has come.
    AND ((d.facts).rail IS NOT DISTINCT FROM y.rail OR (e.kind = 'payment.scheduled' AND (d.facts).rail IS NULL))
    AND (d.facts).mandate IS NOT DISTINCT FROM y.mandate_id AND (d.facts).counterparty IS NOT DISTINCT FROM y.counterparty_id
    AND EXISTS (SELECT FROM jsonb_array_elements(e.c -> 'parts') p WHERE p ->> 'part' = 'decision' AND p ->> 'id' = @dec(d.id)
        AND p ->> 'outcome' = d.outcome AND p ->> 'layer' IS NOT DISTINCT FROM d.layer AND p ->> 'code' IS NOT DISTINCT FROM d.code
        AND p -> 'reasons' = d.reasons AND p -> 'policies' = d.policies AND p -> 'shadows' = d.shadows), false)

-- check: approval_vote
-- Both directions: no vote that its member did not give, and none that is gone.
WITH said AS (
    SELECT e.id, e.seq, e.c ->> 'actor' AS member, p ->> 'id' AS approval, p ->> 'verdict' AS verdict
    FROM @entries e CROSS JOIN LATERAL jsonb_array_elements(e.c -> 'parts') p WHERE p ->> 'part' = 'approval_use'
), made AS (
    SELECT v.entry_id AS id, x.seq AS made_seq, @mem(v.member_id) AS member, @apr(v.approval_id) AS approval, v.verdict, true AS made
    FROM approval_votes v LEFT JOIN ledger_entries x ON x.org_id = v.org_id AND x.id = v.entry_id WHERE v.org_id = @org)
SELECT coalesce(seq, made_seq), approval, format('was %s by %s %s.', verdict, member,
       CASE WHEN made THEN 'without a record that says so' ELSE 'in a record and in no row' END)
FROM said FULL JOIN made USING (id, member, approval, verdict) WHERE seq IS NULL OR made IS NULL ORDER BY 1

-- check: hold_counters
-- A hold lists one counter for each selector that was there before it, in the window of its record's time, which the database lets differ from
-- its own clock by a minute.
WITH needed AS MATERIALIZED (
    SELECT o.livemode, CASE r.effect WHEN 'limit' THEN o.scope ELSE 'org' END AS scope,
           CASE r.effect WHEN 'limit' THEN o.scope_id ELSE o.org_id END AS scope_id, r.per, r.currency,
           coalesce(r.window_kind, 'same') AS kind, min(x.seq) AS since
    FROM policy_activations a JOIN policies o ON o.org_id = a.org_id AND o.id = a.policy_id
    JOIN policy_rules r ON r.org_id = a.org_id AND r.policy_id = a.policy_id AND r.version = a.version
    JOIN ledger_entries x ON x.org_id = a.org_id AND x.id = a.entry_id
    WHERE a.org_id = @org AND a.state <> 'retired' AND (r.effect = 'fingerprint' OR (r.effect = 'limit' AND r.window_kind <> 'payment'))
    GROUP BY 1, 2, 3, 4, 5, 6
), held AS (
    SELECT h.id, x.seq, x.at, h.livemode, h.currency, h.counters, (d.facts).project AS project, (d.facts).agent AS agent,
           (d.facts).mandate AS mandate, (d.facts).counterparty AS counterparty, (d.facts).category AS category,
           (d.facts).purpose AS purpose, (d.facts).rail AS rail, (d.facts).amount AS amount
    FROM holds h JOIN ledger_entries x ON x.org_id = h.org_id AND x.id = h.entry_id
    JOIN decisions d ON d.org_id = h.org_id AND d.payment_id = h.payment_id AND d.entry_id = h.entry_id WHERE h.org_id = @org
)
SELECT h.seq, @hld(h.id), 'does not list the counters that its payment moved.'
FROM held h JOIN organisations g ON g.id = @org
CROSS JOIN LATERAL (SELECT array_agg(DISTINCT must.selector || ' ' || must.kind) AS wanted FROM (
    SELECT n.kind, CASE n.kind
        WHEN 'same' THEN 'same=' || encode(sha256(convert_to(
            concat_ws(E'\n', h.mandate, h.counterparty, h.amount, h.currency, coalesce(h.purpose, '')), 'UTF8')), 'hex')
        ELSE n.scope || '=' || n.scope_id || CASE WHEN h.livemode THEN ';live' ELSE ';test' END
            || CASE WHEN 'project' = ANY (n.per) THEN ';project=' || h.project ELSE '' END
            || CASE WHEN 'agent' = ANY (n.per) THEN ';agent=' || h.agent ELSE '' END
            || CASE WHEN 'counterparty' = ANY (n.per) THEN ';counterparty=' || h.counterparty ELSE '' END
            || CASE WHEN 'category' = ANY (n.per) THEN ';category=' || coalesce(h.category, '?') ELSE '' END
            || CASE WHEN 'purpose' = ANY (n.per) THEN ';purpose=' || coalesce(h.purpose, '?') ELSE '' END
            || CASE WHEN 'rail' = ANY (n.per) THEN ';rail=' || h.rail ELSE '' END END AS selector
    FROM needed n WHERE n.since < h.seq AND n.livemode = h.livemode AND n.scope_id IN (@org, h.project, h.agent)
        AND (n.currency = h.currency OR n.kind = 'same')) must) s
WHERE NOT coalesce((
    SELECT coalesce(array_agg(DISTINCT (n ->> 0) || ' ' || (n ->> 2)), '{}') = coalesce(s.wanted, '{}')
       AND coalesce(bool_and(n ->> 1 = h.currency AND CASE n ->> 2 WHEN 'same' THEN n ->> 3 = '1970-01-01'
           ELSE (n ->> 3)::date BETWEEN date_trunc(n ->> 2, (h.at - interval '2 minutes') AT TIME ZONE g.timezone)::date
                                    AND date_trunc(n ->> 2, (h.at + interval '2 minutes') AT TIME ZONE g.timezone)::date END), true)
    FROM jsonb_array_elements(h.counters) n), false) ORDER BY 1

-- check: counter
-- A counter never shows less than its holds. More is possible: a selector that a new policy brought started with payments before it, whose
-- holds do not list it, and a release gives back to listed counters only. So the sum is a lower bound, not the value.
WITH sums AS (
    SELECT n ->> 0 AS selector, n ->> 1 AS currency, n ->> 2 AS kind, (n ->> 3)::date AS start,
           sum(h.amount - coalesce(r.released, 0)) AS amount, count(*) FILTER (WHERE coalesce(r.released, 0) < h.amount) AS uses
    FROM holds h CROSS JOIN LATERAL jsonb_array_elements(h.counters) n
    LEFT JOIN hold_resolutions r ON r.org_id = h.org_id AND r.hold_id = h.id
    WHERE h.org_id = @org GROUP BY 1, 2, 3, 4)
SELECT NULL::bigint, format('%s (%s, %s from %s)', s.selector, s.currency, s.kind, s.start),
       format('counts %s in %s payments; its holds make %s in %s.', coalesce(k.amount, 0), coalesce(k.uses, 0), s.amount, s.uses)
FROM sums s LEFT JOIN counters k ON k.org_id = @org AND k.selector = s.selector AND k.currency = s.currency
    AND k.window_kind = s.kind AND k.window_start = s.start
WHERE (s.kind = 'same' OR s.start >= current_date - 32) AND (coalesce(k.amount, 0) < s.amount OR coalesce(k.uses, 0) < s.uses)
