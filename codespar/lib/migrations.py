"""Rules live in `.sql` files; a migration names one."""

from pathlib import Path

from django.db import migrations


def sql(migration_file: str, topic: str) -> migrations.RunSQL:
    """The operation that runs `<app>/sql/<topic>.sql`. It has no way back: a ledger's schema only goes forward."""
    return migrations.RunSQL((Path(migration_file).parent.parent / "sql" / f"{topic}.sql").read_text(encoding="utf-8"))
