"""A process that was forked from one with database connections asks the database over its own."""

import subprocess
import sys

from codespar.launcher.stack import StackInfo

# As in a dispatcher, whose sweeper is a thread beside the one that starts children anew: the sweeper has given one connection back, is asking
# over another one, and holds the locks of a moment.
FORKING = """
import os, threading, time
import django
django.setup()
from django.db import connection
from codespar.lib import db
from codespar.lib.postgres import watchdog

def backend():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        found = cursor.fetchone()[0]
    db.release()
    return found

def in_a_thread(work):
    done = []
    thread = threading.Thread(target=lambda: done.append(work()))
    thread.start()
    thread.join()
    return done[0]

def asking():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(4)")
    db.release()

before = in_a_thread(backend)
busy = threading.Thread(target=asking)
busy.start()
time.sleep(0.5)
held, forked = threading.Event(), threading.Event()

def holding():
    with watchdog._lock, connection.pool._lock:
        held.set()
        forked.wait()

threading.Thread(target=holding).start()
held.wait()
child = os.fork()
forked.set()
if child == 0:
    os._exit(0 if before not in (backend(), backend()) else 3)
until = time.monotonic() + 20
while not (ended := os.waitpid(child, os.WNOHANG))[0]:
    if time.monotonic() > until:
        os.kill(child, 9)
        os.waitpid(child, 0)
        raise SystemExit("the child hangs")
    time.sleep(0.05)
assert ended[1] == 0, f"the child ended with {os.waitstatus_to_exitcode(ended[1])}"
busy.join()

def lives():
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)", [before])
        found = cursor.fetchone()[0]
    db.release()
    return found

assert in_a_thread(lives), "the parent has lost its connection"
"""


def test_a_forked_process_neither_shares_connections_nor_waits_for_its_parents_locks(stack: StackInfo) -> None:
    done = subprocess.run([sys.executable, "-c", FORKING], env=stack.env("rail"), capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr


SWEEPING = """
import sys
import codespar.celery
from codespar.lib import db
from rails import sweeper
known = set(sys.modules)
for job in sweeper.JOBS:
    job()
    db.release()
print(*(set(sys.modules) - known))
"""


def test_what_the_sweeper_needs_is_loaded_before_it_begins(stack: StackInfo) -> None:
    """A child that is forked while the sweeper's thread imports something would have half of it, for ever."""
    done = subprocess.run([sys.executable, "-c", SWEEPING], env=stack.env("rail"), capture_output=True, text=True, timeout=90)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
