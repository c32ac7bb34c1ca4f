"""Which pages may speak the Model Context Protocol: its specification requires that servers check `Origin`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from ipaddress import ip_address

from serving.core import url
from serving.protocol.errors import forbidden


def require_known_origin(headers: Mapping[str, str], configured: Collection[str]) -> None:
    """Raises a 403 for a request of a page whose origin is neither `configured` nor surely this server's own.

    A page of any host can give its own name this server's address (DNS rebinding), and is then of the same origin.
    Neither https, whose certificate has the name, nor an address in place of a name can be deceived that way.
    """
    origin = headers.get("origin")
    if origin is None or origin in configured:
        return
    host = headers.get("host", "")
    if origin != f"https://{host}" and not (origin == f"http://{host}" and _is_address(host)):
        raise forbidden(
            "cross_origin",
            "Pages of this origin may not use the Model Context Protocol here unless headrace:cors names it.",
        )


def _is_address(host: str) -> bool:
    """Returns whether a header `Host` has an IP address, or `localhost`."""
    try:
        name = url.parse(f"http://{host}").host
        return url.is_loopback(name) or bool(ip_address(name))
    except ValueError:  # also that of a URL
        return False
