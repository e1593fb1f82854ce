from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("rails", "0007_reconciliation")]
    operations = [sql(__file__, "0007_rulings")]
