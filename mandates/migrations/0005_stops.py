from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("mandates", "0004_actions")]
    operations = [sql(__file__, "0004_stops")]
