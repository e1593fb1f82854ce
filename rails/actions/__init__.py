"""Every write about payments and refunds that somebody asks for."""
