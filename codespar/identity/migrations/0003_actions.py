from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("identity", "0002_identity")]
    operations = [sql(__file__, "0002_actions")]
