from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("rails", "0006_rails")]
    operations = [sql(__file__, "0006_reconciliation")]
