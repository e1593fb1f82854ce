from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("wallets", "0002_books")]
    operations = [sql(__file__, "0002_actions")]
