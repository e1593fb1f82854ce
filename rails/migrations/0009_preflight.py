from django.db import migrations

from codespar.lib.migrations import sql


class Migration(migrations.Migration):
    dependencies = [("rails", "0008_rulings")]
    operations = [sql(__file__, "0008_preflight")]
