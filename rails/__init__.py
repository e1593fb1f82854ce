"""How it gets there: payments, adapters, dispatch."""
