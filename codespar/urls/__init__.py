"""Which addresses each service answers."""
