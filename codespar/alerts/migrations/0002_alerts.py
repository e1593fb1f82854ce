from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("alerts", "0001_initial"), ("rails", "0010_schedules")]
    operations = [sql(__file__, "0001_alerts")]
