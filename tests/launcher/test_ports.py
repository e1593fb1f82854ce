import socket

from codespar.launcher import ports


def test_a_kept_port_is_used_again_while_it_is_free():
    port = ports.free()
    assert ports.free(port) == port


def test_a_kept_port_that_somebody_took_is_replaced():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not ports.is_free(port)
        assert ports.free(port) != port


def test_no_port_is_given_twice():
    given = [ports.free() for _ in range(50)]
    assert len(set(given)) == 50
