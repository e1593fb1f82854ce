"""Can you prove it: verification across all apps."""
