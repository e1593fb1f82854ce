from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("ledger", "0001_initial")]
    operations = [sql(__file__, "0001_common")]
