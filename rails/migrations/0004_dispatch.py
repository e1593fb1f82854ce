from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("rails", "0003_authorise")]
    operations = [sql(__file__, "0003_dispatch")]
