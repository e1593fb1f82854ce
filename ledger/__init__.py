"""What happened: one chain an organisation."""
