"""The books as their rows say, read past every role: what an attack must not change, and what every load must leave balanced."""

import time
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.support.world import World, raw_id

Row = dict[str, Any]


def superuser(world: World) -> psycopg.Connection[Row]:
    """The cluster's superuser: no grant and no row security binds it, only rules do."""
    connection = world.info.cluster.postgres.connect(world.info.database, row_factory=dict_row)
    connection.execute("SET search_path = codespar, pg_catalog, pg_temp")
    connection.execute("SELECT set_config('codespar.org', %s, false)", [str(raw_id(world.org))])
    return connection  # type: ignore[return-value]


def look(world: World, query: str, *parameters: Any) -> list[Row]:
    with superuser(world) as connection:
        return connection.execute(query, parameters or None).fetchall()


_MOVES = """
SELECT (SELECT count(*) FROM payments WHERE org_id = o AND status <> 'denied') AS payments,
       (SELECT count(*) FROM payments WHERE org_id = o AND status = 'denied') AS denied,
       (SELECT count(*) FROM holds WHERE org_id = o) AS holds,
       (SELECT count(*) FROM hold_resolutions WHERE org_id = o) AS resolutions,
       (SELECT count(*) FROM transfers WHERE org_id = o) AS transfers,
       (SELECT count(*) FROM refunds WHERE org_id = o) AS refunds,
       (SELECT jsonb_agg(jsonb_build_array(id, available, held) ORDER BY id) FROM accounts WHERE org_id = o) AS balances,
       (SELECT jsonb_agg(jsonb_build_array(mandate_id, spent, uses, budget, max_uses) ORDER BY mandate_id)
        FROM mandate_usages WHERE org_id = o) AS usages,
       (SELECT coalesce(sum(amount), 0) FROM counters WHERE org_id = o) AS counted,
       (SELECT jsonb_agg(status ORDER BY id) FROM payments WHERE org_id = o AND status <> 'denied') AS states,
       (SELECT count(*) FROM policy_versions WHERE org_id = o) AS policies,
       (SELECT seq FROM ledger_heads WHERE org_id = o) AS seq
FROM (SELECT %s::uuid AS o) x
"""


def state(world: World) -> Row:
    """Everything that money or permission hangs on, in one row to compare."""
    return look(world, _MOVES, raw_id(world.org))[0]


_FAULTS = """
WITH legs AS (
    SELECT org_id, debit_id AS id, -amount AS amount FROM transfers UNION ALL SELECT org_id, credit_id, amount FROM transfers
), sums AS (SELECT id, sum(amount) AS amount FROM legs WHERE org_id = %(org)s GROUP BY id),
open_holds AS (
    SELECT h.wallet_id AS id, sum(h.amount) AS amount FROM holds h
    LEFT JOIN hold_resolutions r ON r.org_id = h.org_id AND r.hold_id = h.id
    WHERE h.org_id = %(org)s AND r.hold_id IS NULL GROUP BY 1
)
SELECT format('%%s %%s: available %%s, held %%s, by its transfers %%s, by its open holds %%s', a.kind, a.id, a.available, a.held,
              coalesce(s.amount, 0), coalesce(o.amount, 0)) AS fault
FROM accounts a LEFT JOIN sums s ON s.id = a.id LEFT JOIN open_holds o ON o.id = a.id
WHERE a.org_id = %(org)s AND a.available IS NOT NULL
  AND (a.available + a.held <> coalesce(s.amount, 0) OR a.held <> coalesce(o.amount, 0) OR a.available < 0)
UNION ALL
SELECT format('mandate %%s: spent %%s uses %%s, by its holds %%s and %%s', u.mandate_id, u.spent, u.uses, h.amount, h.uses)
FROM mandate_usages u CROSS JOIN LATERAL (
    SELECT coalesce(sum(h.amount - coalesce(r.released, 0)), 0) AS amount,
           count(*) FILTER (WHERE coalesce(r.released, 0) < h.amount) AS uses
    FROM holds h LEFT JOIN hold_resolutions r ON r.org_id = h.org_id AND r.hold_id = h.id
    WHERE h.org_id = u.org_id AND h.mandate_id = u.mandate_id) h
WHERE u.org_id = %(org)s AND (u.spent, u.uses) <> (h.amount, h.uses)
UNION ALL
SELECT format('payment %%s is %%s and its hold %%s', p.id, p.status, r.captured)
FROM payments p LEFT JOIN hold_resolutions r ON r.org_id = p.org_id AND r.hold_id = p.hold_id
CROSS JOIN LATERAL (SELECT coalesce(sum(t.amount), 0) AS amount FROM transfers t
                    WHERE t.org_id = p.org_id AND t.payment_id = p.id AND t.kind = 'settled_late') late
WHERE p.org_id = %(org)s AND p.hold_id IS NOT NULL AND CASE
    WHEN p.status IN ('settled', 'reversing', 'reversed', 'written_off') THEN r.captured + late.amount IS DISTINCT FROM p.captured OR p.captured = 0
    WHEN p.status IN ('failed', 'canceled', 'expired') THEN r.released IS DISTINCT FROM p.amount
    WHEN p.status = 'needs_human' THEN r.captured + late.amount <> p.captured
    ELSE r.hold_id IS NOT NULL END
UNION ALL
SELECT format('payment %%s: refunded %%s refunding %%s, by its refunds %%s and %%s', p.id, p.refunded, p.refunding, f.done, f.open)
FROM payments p CROSS JOIN LATERAL (
    SELECT coalesce(sum(amount) FILTER (WHERE status = 'settled'), 0) AS done,
           coalesce(sum(amount) FILTER (WHERE status NOT IN ('settled', 'failed')), 0) AS open
    FROM refunds f WHERE f.org_id = p.org_id AND f.payment_id = p.id) f
WHERE p.org_id = %(org)s AND (p.refunded, p.refunding) <> (f.done, f.open)
"""


def faults(world: World) -> list[str]:
    """Where balances, usages and payments are not what transfers, holds and refunds add up to: nowhere."""
    with superuser(world) as connection:
        return [row["fault"] for row in connection.execute(_FAULTS, {"org": raw_id(world.org)}).fetchall()]


_UNRECORDED = """
WITH parts AS (
    SELECT e.id, e.content, p FROM ledger_entries e CROSS JOIN LATERAL jsonb_array_elements(convert_from(e.content, 'UTF8')::jsonb -> 'parts') p
    WHERE e.org_id = %(org)s
), made AS (
    SELECT 'payment' AS what, y.id, EXISTS (SELECT FROM parts WHERE parts.id = y.created_entry_id AND p ->> 'subject' = wire('pay', y.id)
                                            AND p ->> 'part' = 'transition') AS recorded FROM payments y WHERE y.org_id = %(org)s
    UNION ALL
    SELECT 'step of', t.payment_id, EXISTS (SELECT FROM parts WHERE parts.id = t.entry_id AND p ->> 'subject' = wire('pay', t.payment_id)
                                            AND p ->> 'from' = t.from_state AND p ->> 'to' = t.to_state) FROM payment_transitions t WHERE t.org_id = %(org)s
    UNION ALL
    SELECT 'hold', h.id, EXISTS (SELECT FROM parts WHERE parts.id = h.entry_id AND p ->> 'part' = 'hold' AND p ->> 'id' = wire('hld', h.id))
    FROM holds h WHERE h.org_id = %(org)s
    UNION ALL
    SELECT 'refund', r.id, EXISTS (SELECT FROM parts WHERE p ->> 'part' = 'refund' AND p ->> 'id' = wire('ref', r.id)) FROM refunds r WHERE r.org_id = %(org)s
    UNION ALL
    SELECT 'transfer', t.id, EXISTS (SELECT FROM ledger_entries e WHERE e.org_id = t.org_id AND e.id = t.entry_id
                                     AND position(wire('tr', t.id) IN convert_from(e.content, 'UTF8')) > 0) FROM transfers t WHERE t.org_id = %(org)s)
SELECT format('%%s %%s', what, id) AS fault FROM made WHERE NOT recorded
"""


def unrecorded(world: World) -> list[str]:
    """Payments, steps, holds, refunds and transfers that no record tells of: none."""
    with superuser(world) as connection:
        return [row["fault"] for row in connection.execute(_UNRECORDED, {"org": raw_id(world.org)}).fetchall()]


_COUNTED = """
SELECT format('%%s %%s from %%s: counted %%s in %%s uses, by its holds %%s in %%s', k.selector, k.window_kind, k.window_start, k.amount, k.uses,
              coalesce(h.amount, 0), coalesce(h.uses, 0)) AS fault
FROM counters k LEFT JOIN (
    SELECT CASE s.window_kind WHEN 'same' THEN same_payment(d.facts) ELSE selector(s.scope, s.scope_id, s.per, d.facts) END AS selector,
           h.currency, s.window_kind, window_start(s.window_kind, d.at AT TIME ZONE o.timezone) AS window_start,
           sum(h.amount - coalesce(r.released, 0)) AS amount, count(*) FILTER (WHERE coalesce(r.released, 0) < h.amount) AS uses
    FROM holds h
    JOIN organisations o ON o.id = h.org_id
    JOIN decisions d ON d.org_id = h.org_id AND d.payment_id = h.payment_id AND d.entry_id = h.entry_id
    JOIN counter_selectors s ON s.org_id = h.org_id AND s.livemode = h.livemode AND s.currency IN (h.currency, '*')
         AND s.scope_id IN (h.org_id, (d.facts).project, (d.facts).agent)
    LEFT JOIN hold_resolutions r ON r.org_id = h.org_id AND r.hold_id = h.id
    WHERE h.org_id = %(org)s GROUP BY 1, 2, 3, 4
) h USING (selector, currency, window_kind, window_start)
WHERE k.org_id = %(org)s AND CASE WHEN %(exact)s THEN (k.amount, k.uses) <> (coalesce(h.amount, 0), coalesce(h.uses, 0))
                              ELSE k.amount < coalesce(h.amount, 0) OR k.uses < coalesce(h.uses, 0) END
"""


def miscounted(world: World, *, exact: bool = True) -> list[str]:
    """Counters that are not what the holds of their window add up to: none. Not `exact`: that are less.

    A release gives back to the counters that its hold lists. A limit that came into force while the hold was open has counted it
    and gets nothing back: too strict until its window ends, never too loose.
    """
    with superuser(world) as connection:
        return [row["fault"] for row in connection.execute(_COUNTED, {"org": raw_id(world.org), "exact": exact}).fetchall()]


def drained(world: World) -> None:
    """Returns once nothing of this organisation is on its way."""
    query = "SELECT count(*) AS n FROM payments WHERE org_id = %s AND status IN ('authorized', 'submitted', 'uncertain')"
    until = time.monotonic() + 40
    while look(world, query, raw_id(world.org))[0]["n"]:
        assert time.monotonic() < until, "payments are still on their way"
        time.sleep(0.2)
