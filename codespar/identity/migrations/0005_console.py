from django.db import migrations


class Migration(migrations.Migration):
    """The console keeps its log-in sessions; what Django's own tables hold is no tenant's."""

    dependencies = [("identity", "0004_role_scopes"), ("sessions", "0001_initial"), ("contenttypes", "0002_remove_content_type_name")]
    operations = [
        migrations.RunSQL(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON django_session TO codespar_control;"
            "GRANT SELECT ON django_content_type, django_migrations TO codespar_control, codespar_agent, codespar_rail, codespar_auditor;"
        )
    ]
