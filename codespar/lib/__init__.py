"""What every layer may use: canonical JSON, money, ids, time, database helpers, the error base. Knows no model and no app."""
