from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("wallets", "0001_initial"), ("identity", "0003_actions")]
    operations = [sql(__file__, "0001_books")]
