from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("mandates", "0002_mandates")]
    operations = [sql(__file__, "0002_policy")]
