"""The addresses that tools may connect to.

Source: IANA's registries of special-purpose addresses, as in Python's `ipaddress`, and the addresses of clouds'
metadata services.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

# Link-local in IPv4; in IPv6, those of Amazon, Google and Oracle are in networks of their own.
_METADATA = tuple(
    map(
        ip_network,
        ("169.254.169.254", "168.63.129.16", "100.100.100.200", "fd00:ec2::/32", "fd20:ce::/64", "fd00:c1::/32"),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_UNICAST = IPv6Network("2000::/3")  # RFC 4291: all allocated unicast addresses
_PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
_UNIQUE_LOCAL = IPv6Network("fc00::/7")


def may_connect(text: str, *, private: bool) -> bool:
    """Returns whether a tool may connect to an address: a public one or, if `private`, loopback or a private network.

    Metadata services, link-local, multicast and reserved addresses are never allowed, in whatever notation.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return may_connect(str(inner), private=private)
        if address.teredo is not None:
            return False
    if any(address in network for network in _METADATA):
        return False
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    if address.is_global and (isinstance(address, IPv4Address) or address in _UNICAST):
        return True
    return private and (address.is_loopback or _is_private(address))


def _is_private(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        return address in _UNIQUE_LOCAL
    return any(address in network for network in _PRIVATE)
