-- Whose money. A transfer is one row with both legs; balances move only because a row was added here.

CREATE TABLE accounts (
    org_id uuid NOT NULL REFERENCES organisations,
    id uuid NOT NULL,
    kind text NOT NULL,
    livemode boolean NOT NULL,
    currency text NOT NULL,
    project_id uuid,
    agent_id uuid,
    rail text,
    available bigint,
    held bigint,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT accounts_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT accounts_leg UNIQUE (org_id, id, kind, livemode, currency),
    CONSTRAINT accounts_holder UNIQUE (org_id, id, agent_id, livemode, currency),
    CONSTRAINT accounts_one_each UNIQUE NULLS NOT DISTINCT (org_id, kind, livemode, currency, agent_id, rail),
    CONSTRAINT accounts_agent FOREIGN KEY (org_id, project_id, agent_id) REFERENCES agents (org_id, project_id, id),
    CONSTRAINT accounts_agent_mode FOREIGN KEY (org_id, agent_id, livemode) REFERENCES agents (org_id, id, livemode),
    CONSTRAINT accounts_kind CHECK (kind IN ('wallet', 'main', 'clearing', 'fee', 'receivable', 'external')),
    CONSTRAINT accounts_wallet_agent CHECK ((kind = 'wallet') = (agent_id IS NOT NULL) AND (agent_id IS NULL) = (project_id IS NULL)),
    -- Clearing, fee, receivable and external accounts keep no balance row: it would be hot. Theirs is the sum of their transfers.
    CONSTRAINT accounts_balance_kinds CHECK ((kind IN ('wallet', 'main')) = (available IS NOT NULL AND held IS NOT NULL)),
    CONSTRAINT accounts_available CHECK (available >= 0),
    CONSTRAINT accounts_held CHECK (held >= 0),
    CONSTRAINT accounts_main_held CHECK (kind <> 'main' OR held = 0),
    CONSTRAINT accounts_currency CHECK (currency ~ '^([A-Z]{3}|USDC)$')
);
CALL tenant_table('accounts', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL kept('accounts');

CREATE TABLE transfers (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL,
    debit_id uuid NOT NULL,
    debit_kind text NOT NULL,
    credit_id uuid NOT NULL,
    credit_kind text NOT NULL,
    livemode boolean NOT NULL,
    currency text NOT NULL,
    amount bigint NOT NULL,
    agent_id uuid,
    mandate_id uuid,
    payment_id uuid,
    from_held boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT transfers_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT transfers_debit FOREIGN KEY (org_id, debit_id, debit_kind, livemode, currency) REFERENCES accounts (org_id, id, kind, livemode, currency),
    CONSTRAINT transfers_credit FOREIGN KEY (org_id, credit_id, credit_kind, livemode, currency) REFERENCES accounts (org_id, id, kind, livemode, currency),
    CONSTRAINT transfers_wallet_agent FOREIGN KEY (org_id, debit_id, agent_id, livemode, currency) REFERENCES accounts (org_id, id, agent_id, livemode, currency),
    CONSTRAINT transfers_agent CHECK (debit_kind <> 'wallet' OR agent_id IS NOT NULL),
    CONSTRAINT transfers_amount CHECK (amount > 0),
    CONSTRAINT transfers_two_accounts CHECK (debit_id <> credit_id),
    CONSTRAINT transfers_kind CHECK (CASE kind
        WHEN 'deposit' THEN debit_kind = 'external' AND credit_kind = 'main'
        WHEN 'fund' THEN debit_kind = 'main' AND credit_kind = 'wallet'
        WHEN 'return_to_main' THEN debit_kind = 'wallet' AND credit_kind = 'main'
        WHEN 'capture' THEN debit_kind = 'wallet' AND credit_kind = 'clearing'
        WHEN 'settled_late' THEN debit_kind IN ('wallet', 'receivable') AND credit_kind = 'clearing'
        WHEN 'refund' THEN debit_kind = 'clearing' AND credit_kind IN ('wallet', 'main')
        ELSE false END),
    -- No debit of an agent's wallet without a mandate, but for money that goes home to the organisation's main account.
    CONSTRAINT transfers_mandate CHECK (debit_kind <> 'wallet' OR mandate_id IS NOT NULL OR (kind = 'return_to_main' AND credit_kind = 'main')),
    -- The main account has no path to a rail.
    CONSTRAINT transfers_main_stays_home CHECK (debit_kind <> 'main' OR credit_kind = 'wallet'),
    CONSTRAINT transfers_held CHECK (from_held = (kind = 'capture'))
);
-- Whose wallet is debited is derived, so that the mandate can be held to be the same agent's.
CREATE FUNCTION transfer_agent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.agent_id := (SELECT agent_id FROM accounts WHERE org_id = NEW.org_id AND id = NEW.debit_id);
    RETURN NEW;
END $$;
CREATE TRIGGER transfers_agent_of BEFORE INSERT ON transfers FOR EACH ROW EXECUTE FUNCTION transfer_agent();
CREATE INDEX transfers_by_debit ON transfers (org_id, debit_id, created_at);
CREATE INDEX transfers_by_credit ON transfers (org_id, credit_id, created_at);
CREATE INDEX transfers_by_payment ON transfers (org_id, payment_id) WHERE payment_id IS NOT NULL;
CALL tenant_table('transfers', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('transfers');

-- Money set aside for one payment: an agent's hold takes from that agent's own wallet, under that agent's mandate.
CREATE TABLE holds (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    wallet_id uuid NOT NULL,
    agent_id uuid NOT NULL,
    mandate_id uuid NOT NULL,
    payment_id uuid NOT NULL,
    livemode boolean NOT NULL,
    currency text NOT NULL,
    amount bigint NOT NULL,
    counters jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT holds_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT holds_payment UNIQUE (org_id, payment_id),
    CONSTRAINT holds_amount_key UNIQUE (org_id, id, amount),
    CONSTRAINT holds_wallet FOREIGN KEY (org_id, wallet_id, agent_id, livemode, currency) REFERENCES accounts (org_id, id, agent_id, livemode, currency),
    CONSTRAINT holds_amount CHECK (amount > 0)
);
CALL tenant_table('holds', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('holds');

CREATE TABLE hold_resolutions (
    org_id uuid NOT NULL,
    hold_id uuid NOT NULL,
    amount bigint NOT NULL,
    captured bigint NOT NULL,
    released bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT hold_resolutions_pkey PRIMARY KEY (org_id, hold_id),
    CONSTRAINT hold_resolutions_hold FOREIGN KEY (org_id, hold_id, amount) REFERENCES holds (org_id, id, amount),
    CONSTRAINT hold_resolutions_sum CHECK (captured >= 0 AND released >= 0 AND captured + released = amount)
);
CALL tenant_table('hold_resolutions', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('hold_resolutions');

-- Money that arrived at a provider: pending until a query to the provider confirms it. A forged notice mints nothing.
CREATE TABLE credits (
    org_id uuid NOT NULL,
    id uuid NOT NULL,
    rail text NOT NULL,
    livemode boolean NOT NULL,
    provider_account text NOT NULL,
    direction text NOT NULL DEFAULT 'in',
    reference text NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    amount bigint,
    currency text,
    checks integer NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid,
    CONSTRAINT credits_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT credits_once UNIQUE (org_id, provider_account, direction, reference),
    CONSTRAINT credits_account FOREIGN KEY (org_id, rail, provider_account) REFERENCES rail_accounts (org_id, rail, provider_account),
    CONSTRAINT credits_direction CHECK (direction = 'in'),
    CONSTRAINT credits_status CHECK (status IN ('pending', 'confirmed', 'refused')),
    CONSTRAINT credits_confirmed CHECK (status <> 'confirmed' OR (amount > 0 AND currency IS NOT NULL AND entry_id IS NOT NULL))
);
CREATE INDEX credits_pending ON credits (due_at) WHERE status = 'pending';
CALL tenant_table('credits', '{codespar_control,codespar_rail,codespar_auditor}');

-- Balance rows are locked in the order of their ids, then moved once. The CHECKs above say what may not be.
CREATE FUNCTION books_lock(p_org uuid, p_ids uuid[]) RETURNS void LANGUAGE sql AS $$
    SELECT 1 FROM (SELECT id FROM accounts WHERE org_id = p_org AND id = ANY (p_ids) AND available IS NOT NULL
                   ORDER BY id FOR NO KEY UPDATE) locked
$$;

CREATE FUNCTION transfer_books() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM books_lock(NEW.org_id, ARRAY[NEW.debit_id, NEW.credit_id]);
    IF NEW.from_held THEN
        UPDATE accounts SET held = held - NEW.amount WHERE org_id = NEW.org_id AND id = NEW.debit_id AND available IS NOT NULL;
    ELSE
        UPDATE accounts SET available = available - NEW.amount WHERE org_id = NEW.org_id AND id = NEW.debit_id AND available IS NOT NULL;
    END IF;
    UPDATE accounts SET available = available + NEW.amount WHERE org_id = NEW.org_id AND id = NEW.credit_id AND available IS NOT NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER transfers_books AFTER INSERT ON transfers FOR EACH ROW EXECUTE FUNCTION transfer_books();

CREATE FUNCTION hold_books() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE accounts SET available = available - NEW.amount, held = held + NEW.amount WHERE org_id = NEW.org_id AND id = NEW.wallet_id;
    RETURN NULL;
END $$;
CREATE TRIGGER holds_books AFTER INSERT ON holds FOR EACH ROW EXECUTE FUNCTION hold_books();

-- The released part goes back to the wallet; the captured part leaves through its transfer, in the same transaction.
CREATE FUNCTION resolution_books() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    h holds;
BEGIN
    SELECT * INTO h FROM holds WHERE org_id = NEW.org_id AND id = NEW.hold_id;
    IF NEW.released > 0 THEN
        UPDATE accounts SET held = held - NEW.released, available = available + NEW.released
        WHERE org_id = NEW.org_id AND id = h.wallet_id;
    END IF;
    IF NEW.captured <> coalesce((SELECT sum(amount) FROM transfers WHERE org_id = NEW.org_id AND payment_id = h.payment_id
                                 AND kind = 'capture' AND from_held AND debit_id = h.wallet_id AND entry_id = NEW.entry_id), 0) THEN
        PERFORM refuse('hold_resolutions_transfer', 'what a hold captures leaves by one transfer of the same record');
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER hold_resolutions_books AFTER INSERT ON hold_resolutions FOR EACH ROW EXECUTE FUNCTION resolution_books();

-- The organisation's account of one kind, made when it is first needed.
CREATE FUNCTION account_of(p_org uuid, p_kind text, p_livemode boolean, p_currency text, p_rail text, p_entry uuid) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    found_id uuid;
    balance bigint := CASE WHEN p_kind = 'main' THEN 0 END;
BEGIN
    SELECT id INTO found_id FROM accounts
    WHERE org_id = p_org AND kind = p_kind AND livemode = p_livemode AND currency = p_currency AND rail IS NOT DISTINCT FROM p_rail;
    IF found_id IS NULL THEN
        INSERT INTO accounts (org_id, id, kind, livemode, currency, rail, available, held, entry_id)
        VALUES (p_org, new_id(), p_kind, p_livemode, p_currency, p_rail, balance, balance, p_entry)
        ON CONFLICT DO NOTHING;
        SELECT id INTO found_id FROM accounts
        WHERE org_id = p_org AND kind = p_kind AND livemode = p_livemode AND currency = p_currency AND rail IS NOT DISTINCT FROM p_rail;
    END IF;
    RETURN found_id;
END $$;
GRANT EXECUTE ON FUNCTION books_lock, transfer_agent, transfer_books, hold_books, resolution_books, account_of TO codespar_definer;
