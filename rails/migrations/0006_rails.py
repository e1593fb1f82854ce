from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("rails", "0005_snapshot")]
    operations = [sql(__file__, "0005_rails")]
