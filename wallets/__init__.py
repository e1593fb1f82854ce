"""Whose money: wallets and double-entry books."""
