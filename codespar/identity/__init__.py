"""Who: organisations, projects, agents, members and access tokens."""
