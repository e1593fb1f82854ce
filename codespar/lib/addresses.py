"""Where this engine may send secrets to."""

import ipaddress
from urllib.parse import urlsplit


def is_private(url: str) -> bool:
    """Whether nobody on the way reads what is sent to `url`: https, or http to this machine; and nobody's name stands in it."""
    parts = urlsplit(url)
    if parts.username or not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_here(parts.hostname))


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
