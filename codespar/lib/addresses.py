"""Where this engine may send secrets to, and which addresses are anybody's."""

import ipaddress
from urllib.parse import urlsplit

# IPv6 that carries an IPv4 address in it: where that leads is for a gateway to say.
_WRAPPED = tuple(ipaddress.ip_network(text) for text in ("::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"))


def is_private(url: str) -> bool:
    """Whether nobody on the way reads what is sent to `url`: https, or http to this machine; and nobody's name stands in it."""
    parts = urlsplit(url)
    if parts.username or not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_here(parts.hostname))


def is_here(host: str) -> bool:
    """Whether `host`, a name or an IP address, is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_public(address: str) -> bool:
    """Whether the IP address is one of the internet's: not private, local, shared, reserved or for many."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    wrapped = any(found in network for network in _WRAPPED if network.version == found.version)
    return found.is_global and not found.is_multicast and not wrapped
