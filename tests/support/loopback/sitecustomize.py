"""For a server that would listen to everybody: a process with this folder on its PYTHONPATH binds to this machine's own address only."""

import socket

_bind = socket.socket.bind


def _bind_here(self, address):
    here = "::ffff:127.0.0.1" if self.family == socket.AF_INET6 else "127.0.0.1"
    return _bind(self, (here, *address[1:]) if isinstance(address, tuple) else address)


socket.socket.bind = _bind_here
