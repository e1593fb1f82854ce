from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("rails", "0002_payments")]
    operations = [sql(__file__, "0002_authorise")]
