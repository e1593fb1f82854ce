"""Django's PostgreSQL backend, with one more question to every new connection: is this role no stronger than it should be?"""
