"""What needs a person is told outside: webhooks of the ledger's own events (Standard Webhooks)."""
