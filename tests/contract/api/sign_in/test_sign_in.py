"""Browsers sign in at a real provider, and pages of others get nothing: real redirects, real cookies, a real store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.config import Catalog, Cors, Oidc
from serving.core.principal import Principal
from serving.store.audit import AuditRows
from serving.store.errors import StoreUnavailable
from tests.contract.running import Gateway, Loop, gateway
from tests.servers.identity_provider import AUDIENCE, IdentityProvider, sign_in

FRIEND = "https://friend.example.com"


@dataclass(frozen=True)
class World:
    up: Gateway
    idp: IdentityProvider

    def browser(self) -> httpx.Client:
        return httpx.Client(trust_env=False, timeout=60)

    def coming_back(self, browser: httpx.Client, person: str = "alice", provider: str = "main", next: str = "/") -> str:
        """Signs in at the provider. Returns the URL by which the browser would come back."""
        login = httpx.URL(f"{self.up.url}/auth/login", params={"provider": provider, "next": next})
        return sign_in(browser, str(login), person, f"{self.idp.home}/auth/callback")

    @contextmanager
    def signed_in(self, person: str = "alice", provider: str = "main", next: str = "/") -> Iterator[httpx.Client]:
        with self.browser() as browser:
            answer = browser.get(self.coming_back(browser, person, provider, next))
            assert (answer.status_code, answer.headers["location"]) == (303, self.up.url + next), answer.text
            yield browser

    def session(self, browser: httpx.Client) -> dict[str, Any]:
        answer = browser.get(f"{self.up.url}/auth/session")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def headers(self, browser: httpx.Client, **more: str) -> dict[str, str]:
        """What a page of ours sends with a change."""
        return {"origin": self.up.url, "x-csrf-token": self.session(browser)["csrf_token"], **more}


def oidc(idp: IdentityProvider, **more: Any) -> Oidc:
    common = {"issuer": idp.url, "scopes": ("openid", "email", "groups"), "roles": {"admins": "admin"}}
    main = {"name": "main", "client_id": "public", "audience": AUDIENCE, "tenant": "acme", **common, **more}
    return Oidc.model_validate({"url": idp.home, "issuers": [main]})


@pytest.fixture(scope="module")
def world(identity_provider: IdentityProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    loop, folder = Loop(), tmp_path_factory.mktemp("gateway")
    port = int(identity_provider.home.rpartition(":")[2])
    configured = oidc(identity_provider)
    cors = Cors(origins=(FRIEND,))
    with gateway(loop, folder, Catalog(), oidc=configured, cors=cors, port=port) as up:
        loop.do(up.services.tenants.create("acme"))
        yield World(up, identity_provider)
    loop.stop()


def sent(method: str, url: str, **more: Any) -> httpx.Response:
    """A request of nobody who is signed in."""
    return httpx.request(method, url, trust_env=False, timeout=60, **more)


def ours(browser: httpx.Client) -> dict[str, str]:
    """The gateway's cookies: the provider's are for the same host."""
    return {c.name: str(c.value) for c in browser.cookies.jar if c.name.startswith("headrace")}


def error(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    found = answer.json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return str(found["code"])


def test_a_browser_signs_in_works_and_signs_out(world: World) -> None:
    with world.signed_in(next="/chat?a=b") as browser:
        session = world.session(browser)
        assert {k: session[k] for k in ("tenant", "user", "role", "groups")} == {
            "tenant": "acme",
            "user": "alice",
            "role": "user",
            "groups": ["staff"],
        }
        assert browser.get(f"{world.up.url}/v1/models").status_code == 200
        made = browser.post(f"{world.up.url}/v1/conversations", json={}, headers=world.headers(browser))
        assert made.status_code == 200, made.text
        cookies = ours(browser)
        out = browser.post(f"{world.up.url}/auth/logout", headers=world.headers(browser))
        assert out.json()["deleted"] is True
        assert out.json()["provider_url"].startswith(f"{world.idp.url}/session/end?client_id=public&")
        assert browser.get(out.json()["provider_url"]).status_code == 200  # the provider asks whether to sign out
        assert "headrace" not in browser.cookies
    # Whoever kept the cookie has nothing.
    assert error(sent("GET", f"{world.up.url}/v1/models", cookies=cookies), 401) == "invalid_api_key"


def test_the_session_cookie_is_http_only(world: World) -> None:
    with world.browser() as browser:
        answer = browser.get(world.coming_back(browser))
        session, flow = answer.headers.get_list("set-cookie")
        assert session.startswith("headrace=")
        for attribute in ("HttpOnly", "SameSite=lax", "Path=/", "Max-Age=43200"):
            assert attribute in session
        assert flow.startswith('headrace-sign-in="";')
        assert "Domain" not in session
        assert answer.headers["cache-control"] == "no-store"
        # What the page can read tells nothing by which somebody else could come in.
        assert browser.cookies["headrace"] not in browser.get(f"{world.up.url}/auth/session").text


def test_a_session_confirms_and_revokes_a_key_with_scopes_that_no_session_has(world: World) -> None:
    keys = world.up.services.keys
    with world.signed_in() as browser:
        user = world.session(browser)["user"]
        root, scopes = Principal("acme", "root", ""), ("inference", "prompt")
        handed = world.up.loop.do(keys.add(root, "f" * 64, user=user, scopes=scopes, confirmed=False))
        for verb in ("confirm", "revoke"):
            path = f"{world.up.url}/v1/me/keys/{handed.id}/{verb}"
            answer = browser.post(path, headers=world.headers(browser))
            assert answer.status_code == 200, answer.text
            assert answer.json()["confirmed"]
        assert answer.json()["revoked_at"]


def test_roles_come_from_groups(world: World) -> None:
    with world.signed_in("root") as browser:
        session = world.session(browser)
        assert session["role"] == "admin"
        assert "admin" in session["scopes"]
        assert "platform" not in session["scopes"]


def test_demoted_or_disabled_users_lose_rights_at_once(world: World) -> None:
    users = world.up.services.users
    with world.signed_in("root") as browser:
        root = Principal("acme", world.session(browser)["user"], "")
        usage = f"{world.up.url}/v1/admin/usage"
        assert browser.get(usage).status_code == 200
        world.up.loop.do(users.create(root, "boss", role="admin"))  # so that root is not the last one
        who = world.up.loop.do(users.get(root, root.user))
        assert who.issuer
        assert who.subject
        demoted = users.signed_in(
            who.tenant, who.user, subject=(who.issuer, who.subject), role="user", groups=(), fresh=True
        )
        world.up.loop.do(demoted)
        assert error(browser.get(usage), 403) == "insufficient_scope"
        assert world.session(browser)["role"] == "user"
        world.up.loop.do(users.update(root, root.user, disabled=True))
        assert error(browser.get(f"{world.up.url}/v1/models"), 401) == "invalid_api_key"
        world.up.loop.do(users.update(root, root.user, disabled=False))


def test_signing_in_and_out_is_on_record(world: World) -> None:
    audit = world.up.services.audit
    with world.signed_in("alice") as browser:
        session = world.session(browser)["id"]
        browser.post(f"{world.up.url}/auth/logout", headers=world.headers(browser))
    found = world.up.loop.do(audit.page("acme", user="alice", limit=2)).items
    assert [(e["action"], e["target"], e["outcome"]) for e in found] == [
        ("session.end", session, "ok"),
        ("session.create", session, "ok"),
    ]

    def failed() -> int:
        world.up.loop.do(audit.flush())
        events = world.up.loop.do(audit.page("", action="session.create", limit=100)).items
        reasons = [(e["outcome"], e["detail"]["reason"], e["detail"]["count"]) for e in events]
        return sum(count for outcome, reason, count in reasons if (outcome, reason) == ("denied", "sign_in_failed"))

    before = failed()
    for _ in range(3):
        assert sent("GET", f"{world.up.url}/auth/callback").status_code == 400
    assert failed() == before + 3


def test_a_session_that_cannot_be_recorded_neither_begins_nor_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(self: AuditRows, entries: object) -> None:
        raise StoreUnavailable("the disk is full")

    def sessions() -> int:
        with sqlite3.connect(world.up.services.config.store.database.removeprefix("sqlite:///")) as database:
            found = int(database.execute("SELECT count(*) FROM sessions").fetchone()[0])
        database.close()
        return found

    with world.signed_in() as browser, world.browser() as other:
        headers, before, back = world.headers(browser), sessions(), world.coming_back(other)
        with monkeypatch.context() as patch:
            patch.setattr(AuditRows, "append", full)
            assert error(browser.post(f"{world.up.url}/auth/logout", headers=headers), 503) == "unavailable"
            assert error(other.get(back), 503) == "unavailable"
        assert sessions() == before
        assert world.session(browser)["user"] == "alice"


def test_sign_in_replaces_an_existing_session(world: World) -> None:
    with world.signed_in("alice") as browser:
        before = browser.cookies["headrace"]
        back = world.coming_back(browser, "alice")
        answer = browser.get(back)
        assert answer.status_code == 303
        assert browser.cookies["headrace"] != before
        old = sent("GET", f"{world.up.url}/auth/session", cookies={"headrace": before})
        assert error(old, 401) == "invalid_api_key"
    # Nor is one that somebody else chose.
    with world.browser() as victim:
        victim.cookies.set("headrace", "A" * 43, domain="127.0.0.1", path="/")
        victim.get(world.coming_back(victim))
        assert victim.cookies.get("headrace", domain="127.0.0.1") != "A" * 43


def test_a_callback_requires_the_browser_that_started_the_sign_in(world: World) -> None:
    with world.browser() as attacker, world.browser() as victim:
        theirs = world.coming_back(attacker)
        assert error(victim.get(theirs), 400) == "sign_in_failed"  # no sign-in under way
        own = world.coming_back(victim)
        assert error(victim.get(theirs), 400) == "sign_in_failed"  # another one
        assert "headrace" not in victim.cookies
        assert victim.get(own).status_code == 303


def test_an_authorization_code_works_once(world: World) -> None:
    with world.browser() as browser:
        back = world.coming_back(browser)
        kept = ours(browser)
        assert browser.get(back).status_code == 303
        assert error(browser.get(back), 400) == "sign_in_failed"
        again = sent("GET", back, cookies=kept)
        assert error(again, 400) == "sign_in_failed"
        assert "already been completed" in again.text  # and the provider is not asked
        assert "set-cookie" not in again.headers


@pytest.mark.parametrize(
    "change",
    [
        {"state": "A" * 43},
        {"state": None},
        {"code": "wrong"},
        {"code": None},
        {"code": "A" * 4097},
        {"iss": "https://other.example.com"},
        {"iss": None},
        {"error": "access_denied"},
        {"error": "<script>", "code": None},
    ],
)
def test_forged_answers_of_the_provider_are_rejected(world: World, change: dict[str, str | None]) -> None:
    with world.browser() as browser:
        back = httpx.URL(world.coming_back(browser))
        params = {k: v for k, v in {**back.params, **change}.items() if v is not None}
        answer = browser.get(back.copy_with(params=params))
        assert error(answer, 400) == "sign_in_failed"
        assert "script" not in answer.text
        assert "headrace" not in browser.cookies


def test_a_code_requires_its_pkce_verifier(world: World) -> None:
    with world.browser() as browser:
        code = httpx.URL(world.coming_back(browser)).params["code"]
        form = {"grant_type": "authorization_code", "code": code, "client_id": "public"}
        form |= {"redirect_uri": f"{world.idp.home}/auth/callback", "code_verifier": "A" * 43}
        stolen = sent("POST", f"{world.idp.url}/token", data=form)
        assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("next", ["//evil.example", "https://evil.example", "/\\evil.example", "/a b", ""])
def test_redirects_stay_on_this_site(world: World, next: str) -> None:
    answer = sent("GET", f"{world.up.url}/auth/login", params={"next": next})
    assert error(answer, 400) == "invalid_value"
    assert answer.json()["error"]["param"] == "next"


def test_a_provider_that_is_none(world: World) -> None:
    answer = sent("GET", f"{world.up.url}/auth/login", params={"provider": "nope"})
    assert error(answer, 400) == "invalid_value"
    assert "main" in answer.json()["error"]["message"]


@pytest.fixture(scope="module")
def browser(world: World) -> Iterator[httpx.Client]:
    with world.signed_in() as browser:
        yield browser


class TestForged:
    """What a page elsewhere can make a signed-in browser send."""

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"origin": "https://evil.example"}, "cross_origin"),
            ({"origin": "null"}, "cross_origin"),
            ({"origin": FRIEND}, "cross_origin"),  # it may use keys, not sessions
            ({"origin": None}, "cross_origin"),
            ({"origin": None, "sec-fetch-site": "cross-site"}, "cross_origin"),
            ({"origin": None, "sec-fetch-site": "same-site"}, "cross_origin"),
            ({"origin": "https://evil.example", "sec-fetch-site": "same-origin"}, "cross_origin"),
            ({"x-csrf-token": None}, "invalid_csrf_token"),
            ({"x-csrf-token": ""}, "invalid_csrf_token"),
            ({"x-csrf-token": "0" * 64}, "invalid_csrf_token"),
        ],
    )
    @pytest.mark.parametrize(("method", "path"), [("POST", "/v1/conversations"), ("POST", "/auth/logout")])
    def test_a_forged_change_is_rejected(
        self,
        world: World,
        browser: httpx.Client,
        change: dict[str, str | None],
        code: str,
        method: str,
        path: str,
    ) -> None:
        headers = {k: v for k, v in {**world.headers(browser), **change}.items() if v is not None}
        assert error(browser.request(method, world.up.url + path, json={}, headers=headers), 403) == code
        assert world.session(browser)

    def test_a_csrf_token_of_another_session_is_rejected(self, world: World, browser: httpx.Client) -> None:
        with world.signed_in() as other:
            token = world.session(other)["csrf_token"]
        headers = world.headers(browser) | {"x-csrf-token": token}
        answer = browser.post(f"{world.up.url}/v1/conversations", json={}, headers=headers)
        assert error(answer, 403) == "invalid_csrf_token"

    def test_same_origin_is_enough_where_no_origin_is_sent(self, world: World, browser: httpx.Client) -> None:
        headers = world.headers(browser) | {"sec-fetch-site": "same-origin"}
        del headers["origin"]
        assert browser.post(f"{world.up.url}/v1/conversations", json={}, headers=headers).status_code == 200

    def test_a_deletion_from_elsewhere_is_rejected(self, world: World, browser: httpx.Client) -> None:
        made = browser.post(f"{world.up.url}/v1/conversations", json={}, headers=world.headers(browser)).json()["id"]
        assert error(browser.delete(f"{world.up.url}/v1/conversations/{made}"), 403) == "cross_origin"
        done = browser.delete(f"{world.up.url}/v1/conversations/{made}", headers=world.headers(browser))
        assert done.status_code == 200

    def test_keys_need_none_of_it(self, world: World, browser: httpx.Client) -> None:
        headers = {"authorization": f"Bearer {world.up.key}", "origin": "https://evil.example"}
        assert browser.post(f"{world.up.url}/v1/conversations", json={}, headers=headers).status_code == 200


def test_a_wrong_key_is_not_mended_by_a_session(world: World) -> None:
    with world.signed_in() as browser:
        answer = browser.get(f"{world.up.url}/v1/models", headers={"authorization": "Bearer hr_wrong"})
        assert error(answer, 401) == "invalid_api_key"


@pytest.mark.parametrize("cookie", ["", "A", "A" * 43, "A" * 5000, "é", "../x", "hr_" + "A" * 43])
def test_cookies_without_a_session_are_rejected(world: World, cookie: str) -> None:
    headers = {b"cookie": f"headrace={cookie}".encode()}
    for path in ("/auth/session", "/v1/models"):
        assert error(sent("GET", world.up.url + path, headers=headers), 401) == "invalid_api_key"


def test_an_access_token_works_instead_of_a_key(world: World) -> None:
    def ask(token: str) -> httpx.Response:
        return sent("GET", f"{world.up.url}/v1/models", headers={"authorization": f"Bearer {token}"})

    assert ask(world.idp.machine_token()).status_code == 200
    assert ask(world.up.key).status_code == 200
    alice = {"authorization": f"Bearer {world.idp.token()}"}
    assert error(sent("GET", f"{world.up.url}/v1/admin/usage", headers=alice), 403) == "insufficient_scope"
    refused = ask(world.idp.token(exp=1))
    assert error(refused, 401) == "invalid_token"
    assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert error(ask("a.b"), 401) == "invalid_api_key"


def test_cross_site_requests_are_rejected(world: World) -> None:
    wanted = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-stainless-os"}
    url = f"{world.up.url}/v1/chat/completions"
    allowed = sent("OPTIONS", url, headers={"origin": FRIEND, **wanted})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == FRIEND
    assert allowed.headers["access-control-allow-headers"] == wanted["access-control-request-headers"]
    assert "access-control-allow-credentials" not in allowed.headers
    refused = sent("OPTIONS", url, headers={"origin": "https://evil.example", **wanted})
    assert (refused.status_code, "access-control-allow-origin" in refused.headers) == (400, False)
    for origin, readable in ((FRIEND, True), (f"{FRIEND}.evil.example", False), ("null", False)):
        headers = {"origin": origin, "authorization": f"Bearer {world.up.key}"}
        answer = sent("GET", f"{world.up.url}/v1/models", headers=headers)
        assert (answer.headers.get("access-control-allow-origin") == origin) is readable


def test_a_confidential_client_refuses_a_person_without_access(
    identity_provider: IdentityProvider, tmp_path: Path
) -> None:
    loop, home = Loop(), identity_provider.home
    (tmp_path / "secret").write_text("s3:cret%/")
    configured = oidc(
        identity_provider,
        client_id="confidential",
        client_secret={"ref": f"file:{tmp_path / 'secret'}"},
        user_claim="email",
        tenant=None,
        tenant_claim="company",
        tenants={"acme": "acme", "evil": "evil"},
    )
    # It listens elsewhere than its pages believe; the test leads the browser here.
    with (
        gateway(loop, tmp_path, Catalog(), oidc=configured) as up,
        httpx.Client(trust_env=False, timeout=60) as browser,
    ):
        loop.do(up.services.tenants.create("acme"))
        world = World(up, identity_provider)
        back = world.coming_back(browser, "alice").replace(home, up.url)
        assert browser.get(back).headers["location"] == f"{home}/"
        assert world.session(browser)["user"] == "alice@example.com"
        with httpx.Client(trust_env=False, timeout=60) as other:
            refused = other.get(world.coming_back(other, "mallory").replace(home, up.url))
            assert error(refused, 403) == "access_denied"
            assert "headrace" not in other.cookies
    loop.stop()


def test_a_provider_that_is_down(identity_provider: IdentityProvider, tmp_path: Path) -> None:
    with Loop() as loop, gateway(loop, tmp_path, Catalog(), oidc=oidc(identity_provider)) as up:
        identity_provider.kill()
        try:
            assert error(sent("GET", f"{up.url}/auth/login"), 503) == "unavailable"
            headers = {"authorization": f"Bearer {identity_provider.token()}"}
            assert error(sent("GET", f"{up.url}/v1/models", headers=headers), 503) == "unavailable"
            headers = {"authorization": f"Bearer {up.key}"}
            assert sent("GET", f"{up.url}/v1/models", headers=headers).status_code == 200
        finally:
            identity_provider.restart()


def test_cookies_have_the_host_prefix_over_https(identity_provider: IdentityProvider, tmp_path: Path) -> None:
    configured = oidc(identity_provider).model_copy(update={"url": "https://chat.example.com"})
    with Loop() as loop, gateway(loop, tmp_path, Catalog(), oidc=configured) as up:
        answer = sent("GET", f"{up.url}/auth/login", headers={"host": "evil.example"})
        [cookie] = answer.headers.get_list("set-cookie")
        assert cookie.startswith("__Host-headrace-sign-in=")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
        assert httpx.URL(answer.headers["location"]).params["redirect_uri"] == "https://chat.example.com/auth/callback"


def test_a_stack_without_sign_in_has_no_sign_in_routes(tmp_path: Path) -> None:
    with Loop() as loop, gateway(loop, tmp_path, Catalog()) as up:
        for method, path in (("GET", "login"), ("GET", "callback")):
            assert error(sent(method, f"{up.url}/auth/{path}"), 404) == "not_found"
        headers = {"origin": FRIEND, "access-control-request-method": "POST"}
        preflight = sent("OPTIONS", f"{up.url}/v1/models", headers=headers)
        assert error(preflight, 405) == "method_not_allowed"
        assert "headrace:cors" in preflight.json()["error"]["message"]
        assert "headrace:cors" not in sent("PATCH", f"{up.url}/v1/models").json()["error"]["message"]
