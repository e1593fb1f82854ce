"""The demo: an organisation made from nothing, and a short story played through the real API."""
