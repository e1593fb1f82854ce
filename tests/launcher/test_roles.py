"""The cluster's roles and grants, asked of the catalogs and tried from outside."""

import psycopg
import pytest

from codespar.launcher import roles, setup
from codespar.launcher.errors import LauncherError
from codespar.launcher.postgres import Postgres

RUNTIME = ["codespar_agent", "codespar_auditor", "codespar_control", "codespar_rail"]


def rows(cluster, query, dbname="codespar", *parameters):
    with cluster.postgres.connect(dbname) as connection:
        return connection.execute(query, parameters or None).fetchall()


def test_the_roles_have_exactly_these_attributes(cluster):
    found = rows(
        cluster,
        "SELECT rolname, rolcanlogin, rolinherit, rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication "
        "OR rolbypassrls FROM pg_roles WHERE rolname LIKE 'codespar%' AND rolname <> 'codespar_super' ORDER BY 1",
    )
    assert found == [
        ("codespar_agent", True, False, False),
        ("codespar_auditor", True, False, False),
        ("codespar_control", True, False, False),
        ("codespar_definer", False, True, False),
        ("codespar_owner", True, True, False),
        ("codespar_rail", True, False, False),
        ("codespar_scanner", False, True, False),
    ]


def test_only_the_owner_is_a_member_of_anything(cluster):
    found = rows(
        cluster,
        "SELECT g.rolname, m.rolname FROM pg_auth_members a JOIN pg_roles g ON g.oid = a.roleid "
        "JOIN pg_roles m ON m.oid = a.member WHERE m.rolname LIKE 'codespar%' ORDER BY 1",
    )
    assert found == [("codespar_definer", "codespar_owner"), ("codespar_scanner", "codespar_owner")]


def test_a_weakened_role_is_mended_by_the_next_start(cluster):
    with cluster.postgres.connect() as connection:
        connection.execute("ALTER ROLE codespar_agent BYPASSRLS CREATEDB INHERIT")
    cluster.roles.ensure()
    test_the_roles_have_exactly_these_attributes(cluster)


def test_the_database_is_the_owners_and_public_has_nothing_on_it(cluster):
    found = rows(
        cluster,
        "SELECT coalesce(r.rolname, 'PUBLIC'), string_agg(a.privilege_type, ',' ORDER BY a.privilege_type) "
        "FROM pg_database d, aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee "
        "WHERE d.datname = 'codespar' GROUP BY 1 ORDER BY 1",
    )
    assert found == [
        *[(role, "CONNECT") for role in RUNTIME[:3]],
        ("codespar_owner", "CONNECT,CREATE,TEMPORARY"),
        ("codespar_rail", "CONNECT"),
    ]


def test_a_stranger_with_a_login_cannot_connect_anywhere(cluster):
    with cluster.postgres.connect() as connection:
        connection.execute("CREATE ROLE stranger LOGIN PASSWORD 'stranger'")
    try:
        for dbname in ("codespar", "postgres", "template1"):
            with pytest.raises(psycopg.OperationalError, match="does not have CONNECT privilege"):
                psycopg.connect(host="127.0.0.1", port=cluster.postgres.port, user="stranger", password="stranger", dbname=dbname)
    finally:
        with cluster.postgres.connect() as connection:
            connection.execute("DROP ROLE stranger")


@pytest.mark.parametrize("role", ["agent", "control", "rail", "auditor"])
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE codespar.mine ()",
        "CREATE TABLE mine ()",
        "CREATE TEMP TABLE mine ()",
        "CREATE SCHEMA mine",
        "CREATE DATABASE mine",
        "CREATE ROLE mine",
        "SET ROLE codespar_definer",
        "SET ROLE codespar_owner",
        "SET SESSION AUTHORIZATION codespar_super",
        "INSERT INTO codespar.note VALUES ('x')",
    ],
)
def test_a_runtime_role_can_make_nothing_and_become_nobody(cluster, role, statement):
    with psycopg.connect(cluster.dsn(role), autocommit=True) as connection, pytest.raises(psycopg.Error) as refused:
        connection.execute(statement)
    assert refused.value.sqlstate in ("42501", "3F000")


def test_each_login_has_its_settings_and_only_runtime_roles_have_limits(cluster):
    names = ("search_path", "TimeZone", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    for role in ("agent", "control", "rail", "auditor", "owner"):
        with psycopg.connect(cluster.dsn(role)) as connection:
            found = [connection.execute("SELECT current_setting(%s)", [name]).fetchone()[0] for name in names]
        limits = ["0", "0", "0"] if role == "owner" else ["5s", "4s", "30s"]
        assert found == ["codespar, pg_catalog, pg_temp", "UTC", *limits]


def test_nobody_may_call_a_new_function_until_it_is_granted(cluster):
    with psycopg.connect(cluster.dsn("owner"), autocommit=True) as owner:
        owner.execute("CREATE OR REPLACE FUNCTION codespar.one() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        owner.execute("ALTER FUNCTION codespar.one() OWNER TO codespar_definer")
        # Once more as a migration would: the owner may replace what the definer owns.
        owner.execute("CREATE OR REPLACE FUNCTION codespar.one() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        with psycopg.connect(cluster.dsn("agent"), autocommit=True) as agent:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                agent.execute("SELECT codespar.one()")
            owner.execute("GRANT EXECUTE ON FUNCTION codespar.one() TO codespar_agent")
            assert agent.execute("SELECT codespar.one()").fetchone() == (1,)


def test_the_schema_public_is_gone(cluster):
    assert rows(cluster, "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1") == [
        ("codespar",),
        ("information_schema",),
    ]


def test_a_copy_of_a_template_has_the_same_grants(cluster):
    cluster.roles.create_database("pattern")
    cluster.migrate("pattern")
    cluster.roles.create_database("a_copy", template="pattern")
    with psycopg.connect(cluster.dsn("auditor", "a_copy")) as connection:
        assert connection.execute("SELECT count(*) FROM note").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TEMP TABLE mine ()")
    acl = "SELECT datacl::text FROM pg_database WHERE datname = %s"
    assert rows(cluster, acl, "postgres", "a_copy") == rows(cluster, acl, "postgres", "codespar")
    defaults = "SELECT defaclrole::regrole::text, defaclobjtype::text, defaclacl::text FROM pg_default_acl ORDER BY 1"
    assert rows(cluster, defaults, "a_copy") == rows(cluster, defaults, "codespar")
    assert len(rows(cluster, defaults)) == 3


def test_passwords_with_odd_characters_survive_the_url(cluster):
    odd = dict.fromkeys(roles.LOGIN, "p@ss:w/rd?#% ä")
    made = roles.Roles(cluster.postgres.connect, odd, f"127.0.0.1:{cluster.postgres.port}")
    try:
        made.ensure()
        with psycopg.connect(made.dsn("codespar_agent", "codespar")) as connection:
            assert connection.info.user == "codespar_agent"
    finally:
        cluster.roles.ensure()


def test_passwords_never_reach_the_servers_log(cluster):
    cluster.roles.ensure()
    log = cluster.postgres.log.path.read_text()
    assert not any(cluster.roles.passwords[role] in log for role in roles.LOGIN)


def test_setup_works_for_an_administrator_who_is_not_a_superuser(state_dir, cluster):
    """Managed services give no superuser; the roles are made by one with CREATEROLE and CREATEDB."""
    server = Postgres(state_dir).start()
    try:
        with server.connect() as connection:
            connection.execute("CREATE ROLE admin LOGIN CREATEROLE CREATEDB PASSWORD 'admin'")
        environ = {
            "CODESPAR_SUPERUSER_URL": f"postgresql://admin:admin@127.0.0.1:{server.port}/postgres?sslmode=prefer",
            **{f"{role.upper()}_PASSWORD": password for role, password in cluster.roles.passwords.items()},
        }
        for _ in range(2):
            made, name = setup.prepare(environ)
        assert made.dsn("codespar_owner", name).endswith(f":{server.port}/codespar?sslmode=prefer")
        with psycopg.connect(made.dsn("codespar_owner", name)) as connection:
            connection.execute("CREATE TABLE thing ()")
        with psycopg.connect(made.dsn("codespar_agent", name)) as connection:
            assert connection.execute("SHOW statement_timeout").fetchone() == ("5s",)
    finally:
        server.remove()


def test_setup_names_the_password_that_is_missing(tmp_path):
    with pytest.raises(LauncherError, match="CODESPAR_OWNER_PASSWORD is not set; set it, or CODESPAR_OWNER_PASSWORD_FILE"):
        setup.prepare({"CODESPAR_SUPERUSER_URL": "postgresql://x@127.0.0.1/x"})
    file = tmp_path / "secret"
    file.write_text("from a file\n")
    assert setup.value({"CODESPAR_OWNER_PASSWORD_FILE": str(file)}, "CODESPAR_OWNER_PASSWORD") == "from a file"
