from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("identity", "0003_actions")]
    operations = [sql(__file__, "0003_role_scopes")]
