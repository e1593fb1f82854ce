from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("rails", "0010_schedules")]
    operations = [sql(__file__, "0011_consents")]
