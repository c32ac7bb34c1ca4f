"""Where a tool may connect to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.assistants.tools.address import may_connect


@pytest.mark.parametrize(
    "text", ["93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_public_addresses_are_always_allowed(text):
    assert may_connect(text, private=False)
    assert may_connect(text, private=True)


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "fd12::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
        "2002:a00:1::1",
    ],
)
def test_private_addresses_must_be_allowed(text):
    assert not may_connect(text, private=False)
    assert may_connect(text, private=True)


@pytest.mark.parametrize(
    "text",
    [
        "169.254.169.254",
        "169.254.0.1",
        "168.63.129.16",
        "100.100.100.200",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fd00:c1::a9fe:a9fe",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "::a9fe:a9fe",
        "::ffff:168.63.129.16",
        "64:ff9b::a83f:8110",
        "2002:a83f:8110::",
        "::127.0.0.1",
        "fec0::1",
        "0.0.0.0",
        "::",
        "255.255.255.255",
        "240.0.0.1",
        "224.0.0.1",
        "239.1.1.1",
        "ff02::1",
        "2001::1",
        "192.0.2.1",
        "198.18.0.1",
        "2001:db8::1",
        "64:ff9b:1::1",
        "::ffff:0.0.0.0",
        "",
        "example.com",
        "127.1",
        "0x7f000001",
    ],
)
def test_never(text):
    assert not may_connect(text, private=False)
    assert not may_connect(text, private=True)


@given(st.ip_addresses(v=4))
def test_embedded_ipv4_addresses_are_unwrapped(address: IPv4Address):
    wrapped = [
        IPv6Address(0xFFFF << 32 | int(address)),
        IPv6Address(int(IPv6Address("64:ff9b::")) | int(address)),
        IPv6Address(0x2002 << 112 | int(address) << 80),
    ]
    for private in (False, True):
        assert {may_connect(str(w), private=private) for w in wrapped} == {may_connect(str(address), private=private)}
