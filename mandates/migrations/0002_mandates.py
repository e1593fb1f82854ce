from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("mandates", "0001_initial"), ("wallets", "0003_actions")]
    operations = [sql(__file__, "0001_mandates")]
