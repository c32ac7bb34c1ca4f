"""From which address a request comes."""

from __future__ import annotations

import pytest

from serving.api.addresses.client_address import address_of


@pytest.mark.parametrize(
    ("forwarded", "proxies", "address"),
    [
        ([], 0, "10.0.0.9"),
        (["192.0.2.1"], 0, "192.0.2.1"),
        (["6.6.6.6", "192.0.2.1"], 0, "192.0.2.1"),  # HAProxy's header is the last
        (["6.6.6.6, 7.7.7.7", "192.0.2.1"], 0, "192.0.2.1"),
        (["6.6.6.6, 192.0.2.1", "10.0.0.1"], 1, "192.0.2.1"),
        (["10.0.0.1"], 1, "10.0.0.9"),  # one proxy fewer than was said
        ([" , ", ""], 0, "10.0.0.9"),
    ],
)
def test_forged_forwarded_addresses_are_ignored(forwarded: list[str], proxies: int, address: str) -> None:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    scope = {"type": "http", "client": ("10.0.0.9", 1), "headers": [(b"host", b"x"), *headers]}
    assert address_of(scope, proxies) == address


def test_a_connection_without_an_address_has_none() -> None:
    assert address_of({"type": "http", "headers": []}, 0) == ""
