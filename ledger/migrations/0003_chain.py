from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("ledger", "0002_common")]
    operations = [sql(__file__, "0002_chain")]
