from django.conf import settings
from django.db import migrations


def name_deployment(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("INSERT INTO deployment (name) VALUES (%s)", [settings.CONFIG.deployment])


class Migration(migrations.Migration):
    dependencies = [("ledger", "0004_kinds")]
    operations = [migrations.RunPython(name_deployment)]
