from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("mandates", "0003_policy")]
    operations = [sql(__file__, "0003_actions")]
