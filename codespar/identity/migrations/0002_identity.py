from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("identity", "0001_initial"), ("vault", "0002_keys")]
    operations = [sql(__file__, "0001_identity")]
