"""The launcher: embedded Postgres and Valkey, the cluster's roles, and the processes of the demo and of the tests.

Nothing in here is imported by the engine: production brings its own servers and uses only `codespar.launcher.setup`.
"""
