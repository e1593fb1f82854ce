"""Every write about mandates, counterparties and policies."""
