-- May it: the registry of counterparties, mandates, policies, counters, stops and revocations.

-- Who may be paid. A row is the current state; every version stays below.
CREATE TABLE counterparties (
    org_id uuid NOT NULL REFERENCES organisations,
    id uuid NOT NULL,
    livemode boolean NOT NULL,
    status text NOT NULL,
    version integer NOT NULL,
    name text NOT NULL,
    country text,
    category text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT counterparties_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT counterparties_livemode UNIQUE (org_id, id, livemode),
    CONSTRAINT counterparties_status CHECK (status IN ('proposed', 'confirmed', 'retired')),
    CONSTRAINT counterparties_country CHECK (country ~ '^[A-Z]{2}$'),
    CONSTRAINT counterparties_category CHECK (category ~ '^[a-z0-9][a-z0-9_.-]{0,63}$'),
    CONSTRAINT counterparties_name CHECK (name <> '')
);
CALL tenant_table('counterparties', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');

CREATE TABLE counterparty_versions (
    org_id uuid NOT NULL,
    counterparty_id uuid NOT NULL,
    version integer NOT NULL,
    document jsonb NOT NULL,
    author text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT counterparty_versions_pkey PRIMARY KEY (org_id, counterparty_id, version),
    CONSTRAINT counterparty_versions_of FOREIGN KEY (org_id, counterparty_id) REFERENCES counterparties
);
CALL tenant_table('counterparty_versions', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('counterparty_versions');

-- Revocation is an epoch that only grows; a stop is a flag. A scope without a row has epoch 0 and runs. Each mode has its own.
CREATE TABLE scope_states (
    org_id uuid NOT NULL REFERENCES organisations,
    livemode boolean NOT NULL,
    scope text NOT NULL,
    scope_id uuid NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    stopped boolean NOT NULL DEFAULT false,
    CONSTRAINT scope_states_pkey PRIMARY KEY (org_id, scope, scope_id, livemode),
    CONSTRAINT scope_states_scope CHECK (scope IN ('org', 'project', 'agent', 'mandate', 'counterparty', 'rail', 'policy')),
    CONSTRAINT scope_states_epoch CHECK (epoch >= 0)
);
CALL tenant_table('scope_states', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');

-- The same for what is no tenant's: the platform and each rail, with the receipts that everybody who is refused is shown.
CREATE TABLE platform_states (
    scope text NOT NULL,
    name text NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    stopped boolean NOT NULL DEFAULT false,
    stop_receipt text,
    revocation_receipt text,
    -- Of a rail: whether a payment over it needs a consent of the account's holder.
    consent boolean NOT NULL DEFAULT false,
    CONSTRAINT platform_states_pkey PRIMARY KEY (scope, name),
    CONSTRAINT platform_states_scope CHECK (scope IN ('platform', 'rail')),
    CONSTRAINT platform_states_epoch CHECK (epoch >= 0)
);
INSERT INTO platform_states (scope, name)
VALUES ('platform', 'platform'), ('rail', 'sandbox'), ('rail', 'pix'), ('rail', 'card'), ('rail', 'wire'), ('rail', 'x402');
INSERT INTO platform_states (scope, name, consent) VALUES ('rail', 'open_finance', true);
GRANT SELECT ON platform_states TO codespar_definer, codespar_agent, codespar_control, codespar_rail, codespar_auditor;
GRANT UPDATE ON platform_states TO codespar_definer;

CREATE FUNCTION epoch_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.epoch < OLD.epoch THEN
        PERFORM refuse(TG_TABLE_NAME || '_epoch_grows', 'a revocation is for ever');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER scope_states_epoch_grows BEFORE UPDATE ON scope_states FOR EACH ROW EXECUTE FUNCTION epoch_grows();
CREATE TRIGGER platform_states_epoch_grows BEFORE UPDATE ON platform_states FOR EACH ROW EXECUTE FUNCTION epoch_grows();
CALL kept('scope_states');
CALL kept('platform_states');

-- Signed mandates: the exact bytes, and the columns that SQL enforces. Nothing here is ever changed.
CREATE TABLE mandates (
    org_id uuid NOT NULL,
    project_id uuid NOT NULL,
    id uuid NOT NULL,
    livemode boolean NOT NULL,
    agent_id uuid NOT NULL,
    profile text NOT NULL,
    currency text NOT NULL,
    max_amount bigint NOT NULL,
    budget bigint,
    max_uses integer,
    purposes text[],
    counterparties uuid[],
    countries text[],
    categories text[],
    rails text[],
    time_windows jsonb,
    not_before timestamptz,
    expires_at timestamptz NOT NULL,
    credential text NOT NULL,
    kid text NOT NULL,
    epochs jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT mandates_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT mandates_terms UNIQUE (org_id, id, agent_id, livemode, currency),
    CONSTRAINT mandates_project UNIQUE (org_id, project_id, id),
    CONSTRAINT mandates_agent FOREIGN KEY (org_id, project_id, agent_id) REFERENCES agents (org_id, project_id, id),
    CONSTRAINT mandates_agent_mode FOREIGN KEY (org_id, agent_id, livemode) REFERENCES agents (org_id, id, livemode),
    CONSTRAINT mandates_kid FOREIGN KEY (org_id, kid) REFERENCES private_keys (org_id, kid),
    CONSTRAINT mandates_profile CHECK (profile IN ('pure', 'extended')),
    CONSTRAINT mandates_amounts CHECK (max_amount > 0 AND budget > 0 AND max_uses > 0),
    CONSTRAINT mandates_validity CHECK (expires_at > coalesce(not_before, '-infinity'::timestamptz)),
    CONSTRAINT mandates_lists CHECK (cardinality(purposes) > 0 AND cardinality(counterparties) > 0 AND cardinality(countries) > 0
                                     AND cardinality(categories) > 0 AND cardinality(rails) > 0)
);
CREATE INDEX mandates_by_agent ON mandates (org_id, agent_id, id);
CALL tenant_table('mandates', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('mandates');
ALTER TABLE holds ADD CONSTRAINT holds_mandate FOREIGN KEY (org_id, mandate_id, agent_id, livemode, currency)
    REFERENCES mandates (org_id, id, agent_id, livemode, currency);
ALTER TABLE transfers ADD CONSTRAINT transfers_mandate_known FOREIGN KEY (org_id, mandate_id) REFERENCES mandates (org_id, id);
ALTER TABLE transfers ADD CONSTRAINT transfers_mandate_agent FOREIGN KEY (org_id, mandate_id, agent_id, livemode, currency)
    REFERENCES mandates (org_id, id, agent_id, livemode, currency);

-- What a mandate has left: pending and settled spend together. The caps are copies that never change.
CREATE TABLE mandate_usages (
    org_id uuid NOT NULL,
    mandate_id uuid NOT NULL,
    paused boolean NOT NULL DEFAULT false,
    budget bigint,
    max_uses integer,
    spent bigint NOT NULL DEFAULT 0,
    uses integer NOT NULL DEFAULT 0,
    CONSTRAINT mandate_usages_pkey PRIMARY KEY (org_id, mandate_id),
    CONSTRAINT mandate_usages_mandate FOREIGN KEY (org_id, mandate_id) REFERENCES mandates (org_id, id),
    CONSTRAINT mandate_usages_budget CHECK (spent >= 0 AND spent <= budget),
    CONSTRAINT mandate_usages_uses CHECK (uses >= 0 AND uses <= max_uses)
);
CALL tenant_table('mandate_usages', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');

CREATE FUNCTION usage_caps_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.org_id, NEW.mandate_id, NEW.budget, NEW.max_uses) IS DISTINCT FROM (OLD.org_id, OLD.mandate_id, OLD.budget, OLD.max_uses) THEN
        PERFORM refuse('mandate_usages_caps', 'a mandate''s caps are fixed when it is signed');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER mandate_usages_caps BEFORE UPDATE ON mandate_usages FOR EACH ROW EXECUTE FUNCTION usage_caps_fixed();
CALL kept('mandate_usages');

-- Policies are data. A version never changes; which one is active is itself an append-only row.
CREATE TABLE policies (
    org_id uuid NOT NULL REFERENCES organisations,
    id uuid NOT NULL,
    livemode boolean NOT NULL,
    name text NOT NULL,
    scope text NOT NULL,
    scope_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT policies_pkey PRIMARY KEY (org_id, id),
    CONSTRAINT policies_livemode UNIQUE (org_id, id, livemode),
    CONSTRAINT policies_one_a_scope UNIQUE (org_id, livemode, scope, scope_id),
    CONSTRAINT policies_scope CHECK (scope IN ('org', 'project', 'agent') AND (scope <> 'org' OR scope_id = org_id))
);
CALL tenant_table('policies', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('policies');

CREATE TABLE policy_versions (
    org_id uuid NOT NULL,
    policy_id uuid NOT NULL,
    version integer NOT NULL,
    document jsonb NOT NULL,
    author text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT policy_versions_pkey PRIMARY KEY (org_id, policy_id, version),
    CONSTRAINT policy_versions_of FOREIGN KEY (org_id, policy_id) REFERENCES policies,
    CONSTRAINT policy_versions_version CHECK (version > 0)
);
CALL tenant_table('policy_versions', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('policy_versions');

CREATE TABLE policy_activations (
    org_id uuid NOT NULL,
    policy_id uuid NOT NULL,
    epoch bigint NOT NULL,
    version integer NOT NULL,
    state text NOT NULL,
    author text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    entry_id uuid NOT NULL,
    CONSTRAINT policy_activations_pkey PRIMARY KEY (org_id, policy_id, epoch),
    CONSTRAINT policy_activations_version FOREIGN KEY (org_id, policy_id, version) REFERENCES policy_versions,
    CONSTRAINT policy_activations_state CHECK (state IN ('active', 'shadow', 'retired'))
);
CALL tenant_table('policy_activations', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('policy_activations');

-- A version compiled to rows, by SQL, from the document: what authorise enforces.
CREATE TABLE policy_rules (
    org_id uuid NOT NULL,
    policy_id uuid NOT NULL,
    version integer NOT NULL,
    rule_id text NOT NULL,
    effect text NOT NULL,
    counterparties uuid[],
    countries text[],
    categories text[],
    purposes text[],
    rails text[],
    currencies text[],
    time_windows jsonb,
    amount_over bigint,
    currency text,
    window_kind text,
    max_amount bigint,
    max_count integer,
    per text[],
    seconds integer,
    unknown_category boolean NOT NULL,
    CONSTRAINT policy_rules_pkey PRIMARY KEY (org_id, policy_id, version, rule_id),
    CONSTRAINT policy_rules_version FOREIGN KEY (org_id, policy_id, version) REFERENCES policy_versions,
    CONSTRAINT policy_rules_effect CHECK (effect IN ('allow', 'deny', 'approval', 'limit', 'fingerprint')),
    CONSTRAINT policy_rules_limit CHECK ((effect = 'limit') = (window_kind IS NOT NULL)
        AND (effect <> 'limit' OR (currency IS NOT NULL AND num_nonnulls(max_amount, max_count) > 0))),
    CONSTRAINT policy_rules_window CHECK (window_kind IN ('payment', 'day', 'week', 'month')),
    CONSTRAINT policy_rules_per CHECK (per <@ '{project,agent,counterparty,category,purpose,rail}'),
    CONSTRAINT policy_rules_fingerprint CHECK ((effect = 'fingerprint') = (seconds IS NOT NULL))
);
CALL tenant_table('policy_rules', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
CALL append_only('policy_rules');

-- What has been spent, by what it is spent on: never keyed by a rule or a version, so a new policy forgets nothing.
CREATE TABLE counters (
    org_id uuid NOT NULL REFERENCES organisations,
    selector text NOT NULL,
    currency text NOT NULL,
    window_kind text NOT NULL,
    window_start date NOT NULL,
    amount bigint NOT NULL DEFAULT 0,
    uses integer NOT NULL DEFAULT 0,
    last_at timestamptz,
    CONSTRAINT counters_pkey PRIMARY KEY (org_id, selector, currency, window_kind, window_start),
    CONSTRAINT counters_window CHECK (window_kind IN ('day', 'week', 'month', 'same')),
    CONSTRAINT counters_amount CHECK (amount >= 0 AND uses >= 0)
);
CALL tenant_table('counters', '{codespar_agent,codespar_control,codespar_rail,codespar_auditor}');
