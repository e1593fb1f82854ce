"""The floors: the rows and the commits of a payment, without what makes it one."""

import uuid

import psycopg

# In the order in which the engine makes them.
COMMITS = ("authorise", "claim", "submit", "result", "freeze")


def connect(dsn: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(dsn, autocommit=True)


def pay(connection: psycopg.Connection[tuple[object, ...]], org: str) -> bool:
    """Write one payment's rows, in as many commits as the engine's payment has; they are a settled payment's."""
    payment = uuid.UUID(int=uuid.uuid4().int)
    for function in COMMITS:
        connection.execute(f"SELECT bench.{function}(%s, %s)".encode(), [org, payment])
    return True
