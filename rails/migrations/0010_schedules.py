from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("rails", "0009_preflight")]
    operations = [sql(__file__, "0009_schedules")]
