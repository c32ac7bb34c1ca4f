"""Sign-ins that are under way: whose cookie it is, and what paths are ours."""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.security.flow import LIFETIME_S, MAX_COOKIE, MAX_NEXT, FlowError, Flows, own_path

SECRET = "s" * 40


def test_any_gateway_knows_it_again() -> None:
    flow, cookie = Flows(SECRET, lambda: 1000).begin("main", "/chat?a=b")
    assert Flows(SECRET, lambda: 999 + LIFETIME_S).read(cookie, flow.state) == flow
    assert len({flow.state, flow.nonce, flow.verifier}) == 3
    assert all(len(secret) == 43 for secret in (flow.state, flow.nonce, flow.verifier))
    digest = hashlib.sha256(flow.verifier.encode()).digest()
    assert flow.challenge == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert flow.verifier not in base64.urlsafe_b64decode(cookie + "==").decode(errors="replace")


def test_invalid_states_are_rejected() -> None:
    flows = Flows(SECRET, lambda: 1000)
    flow, cookie = flows.begin("main", "/")
    other, others = flows.begin("main", "/")
    late = Flows(SECRET, lambda: 1000 + LIFETIME_S)
    for reader, given_cookie, state in (
        (late, cookie, flow.state),
        (Flows("t" * 40, lambda: 1000), cookie, flow.state),
        (flows, cookie, other.state),
        (flows, others, flow.state),
        (flows, cookie, None),
        (flows, cookie, ""),
        (flows, cookie, "\ud800"),
        (flows, None, flow.state),
        (flows, cookie + "A" * MAX_COOKIE, flow.state),
    ):
        with pytest.raises(FlowError):
            reader.read(given_cookie, state)
    assert SECRET not in repr(flows)


def test_sign_ins_survive_a_secret_rotation() -> None:
    flow, cookie = Flows("o" * 40, lambda: 1000).begin("main", "/")
    assert Flows(SECRET, lambda: 1000, previous="o" * 40).read(cookie, flow.state) == flow
    with pytest.raises(FlowError):
        Flows("o" * 40, lambda: 1000).read(Flows(SECRET, previous="o" * 40).begin("main", "/")[1], flow.state)


@given(st.data())
def test_modified_cookies_are_rejected(data: st.DataObject) -> None:
    flows = Flows(SECRET, lambda: 1000)
    flow, cookie = flows.begin("main", "/")
    raw = bytearray(base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4)))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FlowError):
        flows.read(base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode(), flow.state)


@given(st.text(max_size=80), st.text(max_size=20))
def test_forged_cookies_are_rejected(cookie: str, state: str) -> None:
    with pytest.raises(FlowError):
        Flows(SECRET).read(cookie, state)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "chat",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "/a\\..\\b",
        "/a b",
        "/é",
        " /a",
        "/a\r\nset-cookie: x=y",
        "/" + "a" * MAX_NEXT,
    ],
)
def test_paths_to_other_hosts_are_rejected(path: str) -> None:
    assert not own_path(path)


@given(st.text(alphabet="/\\.:@?#%ab \t\n", max_size=12).map(lambda rest: "/" + rest))
@example("/.//evil.example")
def test_a_return_path_never_leaves_the_origin(path: str) -> None:
    if own_path(path):
        there = urlsplit(urljoin("https://home.example/auth/callback", path))
        assert (there.scheme, there.netloc) == ("https", "home.example")
        assert urlsplit("https://home.example" + path).netloc == "home.example"
