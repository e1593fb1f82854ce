from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("rails", "0001_initial"), ("mandates", "0005_stops")]
    operations = [sql(__file__, "0001_payments")]
