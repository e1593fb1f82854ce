from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("rails", "0004_dispatch")]
    operations = [sql(__file__, "0004_snapshot")]
