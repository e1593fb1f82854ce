"""May it: mandates, counterparties, policies, decisions."""
