from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("vault", "0001_initial"), ("ledger", "0003_chain")]
    operations = [sql(__file__, "0001_keys")]
