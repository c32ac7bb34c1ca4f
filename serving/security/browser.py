"""Sign-in of browsers at an identity provider or with an API key, with a session in a cookie.

Pages never have a token, and they have a key only while they sign in with it.

Sources: RFC 9207 (issuer in the answer), RFC 6265bis (`__Host-` cookies), OpenID Connect RP-Initiated Logout 1.0.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import urlencode

from serving.config import Cors, Oidc
from serving.core.principal import Principal
from serving.core.ttl_cache import TtlCache
from serving.security import signed
from serving.security.flow import LIFETIME_S, FlowError, Flows
from serving.security.keys import AuthenticationError
from serving.security.person import People
from serving.security.provider import CodeRefused, Provider, ProviderUnavailable
from serving.security.tokens import signed_in
from serving.store.sessions import Recorded, Session, Sessions

CSRF_HEADER = "x-csrf-token"
MAX_CODE = 4096
MAX_FLOWS = 16_384
"""Number of finished sign-ins that a gateway remembers."""

_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


class Forged(Exception):
    """Another page may have made the browser send this. The message says what is missing."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Browser:
    """Signs browsers in and out, and identifies the callers of their requests.

    Sessions that began with the secret `previous` continue, and are moved to `secret` when they are used.
    """

    def __init__(
        self,
        oidc: Oidc,
        cors: Cors,
        providers: Sequence[Provider],
        sessions: Sessions,
        people: People,
        secret: str,
        *,
        previous: str | None = None,
    ) -> None:
        self.providers = {provider.issuer.name: provider for provider in providers} if oidc.url else {}
        """Providers for sign-in, by name."""
        self.secure = oidc.url.startswith("https://")
        # The prefix prevents other hosts of a domain from setting this cookie.
        prefix = "__Host-" if self.secure else ""
        self.session_cookie = f"{prefix}headrace"
        self.flow_cookie = f"{prefix}headrace-sign-in"
        self._url = oidc.url
        self._origins = frozenset(({oidc.url} - {""}) | set(cors.origins if cors.credentials else ()))
        self._sessions = sessions
        self._people = people
        self._flows = Flows(secret, previous=previous)
        self._back: TtlCache[bool] = TtlCache(LIFETIME_S, MAX_FLOWS)
        self._keys = signed.keys(b"headrace sessions 1", secret, previous)

    def __repr__(self) -> str:
        return "Browser()"

    async def begin(self, provider: Provider, next: str) -> tuple[str, str]:
        """Returns the URL of the provider's page, and the cookie for the return. Raises `ProviderUnavailable`."""
        metadata = await provider.metadata()
        flow, cookie = self._flows.begin(provider.issuer.name, next)
        asked = {
            "response_type": "code",
            "client_id": provider.issuer.client_id,
            "redirect_uri": self._callback,
            "scope": " ".join(provider.issuer.scopes),
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": flow.challenge,
            "code_challenge_method": "S256",
        }
        return _with(metadata.authorization_endpoint, asked), cookie

    async def finish(
        self, answer: Mapping[str, str], cookies: Mapping[str, str], recorded: Recorded | None = None
    ) -> tuple[Session, str, str]:
        """Returns the new session, its cookie, and the path to continue at; the browser's earlier session ends.

        `recorded` is awaited in the same transaction. Raises `FlowError`, `AuthenticationError`, `ProviderUnavailable`.
        """
        flow = self._flows.read(cookies.get(self.flow_cookie), answer.get("state"))
        provider = self.providers.get(flow.issuer)
        if provider is None:
            raise FlowError("The provider is no longer configured.")
        metadata = await provider.metadata()
        named = "iss" in answer or metadata.authorization_response_iss_parameter_supported
        if named and answer.get("iss") != metadata.issuer:
            raise FlowError("Another provider answered.")
        code = answer.get("code", "")
        if "error" in answer or not 1 <= len(code) <= MAX_CODE:
            raise FlowError("The provider did not sign you in.")
        state = hashlib.sha256(flow.state.encode()).digest()
        if self._back.get(state):
            raise FlowError("This sign-in has already been completed; start again.")
        self._back.put(state, True)
        try:
            token = await provider.exchange(code, flow.verifier, self._callback)
        except CodeRefused:
            raise FlowError("The provider rejected the code of its own answer.") from None
        principal = await self._people.admit(await signed_in(provider, token, flow.nonce), fresh=True)
        session, cookie = await self._start(principal, provider.issuer.name, cookies, recorded)
        return session, cookie, flow.next

    async def begin_with_key(
        self, principal: Principal, cookies: Mapping[str, str], recorded: Recorded | None = None
    ) -> tuple[Session, str]:
        """Returns the new session of a verified key and its cookie; the browser's earlier session ends.

        `recorded` is awaited in the same transaction.
        """
        return await self._start(principal, "", cookies, recorded)

    async def _start(
        self, principal: Principal, issuer: str, cookies: Mapping[str, str], recorded: Recorded | None
    ) -> tuple[Session, str]:
        cookie = secrets.token_urlsafe(32)
        before = cookies.get(self.session_cookie)
        session = await self._sessions.start(
            principal,
            issuer,
            self._hashes(cookie)[0],
            instead_of=self._hashes(before) if before is not None else (),
            recorded=recorded,
        )
        return session, cookie

    async def session(self, cookies: Mapping[str, str]) -> Session | None:
        """Returns the session of a request without a key, None without a session cookie.

        Raises `AuthenticationError` when the session has ended.
        """
        cookie = cookies.get(self.session_cookie)
        if cookie is None:
            return None
        session = await self._sessions.get(*self._hashes(cookie)) if _COOKIE.fullmatch(cookie) else None
        if session is None or (session.key_id is None and session.issuer not in self.providers):
            raise AuthenticationError("the session has ended: sign in again")
        return session

    async def caller(self, method: str, headers: Mapping[str, str], cookies: Mapping[str, str]) -> Principal | None:
        """Returns the caller of a request with a session cookie, None without one.

        Raises `AuthenticationError`, and `Forged` for a change that another page may have caused.
        """
        session = await self.session(cookies)
        if session is not None and method not in _SAFE:
            self.require_own(headers, cookies)
        return session.principal if session is not None else None

    def require_own(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> None:
        """Raises `Forged` unless the request is from a page of this origin that knows the session's CSRF token."""
        self.require_own_origin(headers)
        given, wanted = headers.get(CSRF_HEADER, ""), self._macs(b"csrf", cookies[self.session_cookie])
        if not any(hmac.compare_digest(given.encode(errors="replace"), token.encode()) for token in wanted):
            raise Forged("invalid_csrf_token", f"The header {CSRF_HEADER} must be the csrf_token of /auth/session.")

    def require_own_origin(self, headers: Mapping[str, str]) -> None:
        """Raises `Forged` unless the request is from a page of this origin.

        Without https, a page is of this origin also if it has the host that the browser asked: this host has several
        names, and the cookie is sent to the one that set it only.
        """
        origin = headers.get("origin")
        if origin is None:
            own = headers.get("sec-fetch-site") == "same-origin"
        else:
            host = headers.get("host")
            same = bool(host) and origin in (f"http://{host}", f"https://{host}")
            own = origin in self._origins or (not self.secure and same)
        if not own:
            raise Forged("cross_origin", "With a session, only pages of this origin may make changes.")

    def csrf_token(self, cookie: str) -> str:
        """Returns the CSRF token of the session with that cookie."""
        return self._macs(b"csrf", cookie)[0]

    async def end(
        self, session: Session, cookies: Mapping[str, str], recorded: Callable[[], Awaitable[None]] | None = None
    ) -> str | None:
        """Ends a session. Returns the URL of the provider's sign-out page, if it has one.

        `recorded` is awaited in the same transaction.
        """
        await self._sessions.end(*self._hashes(cookies[self.session_cookie]), recorded=recorded)
        if session.key_id is not None:
            return None
        provider = self.providers[session.issuer]
        try:
            page = (await provider.metadata()).end_session_endpoint
        except ProviderUnavailable:
            return None
        asked = {"client_id": provider.issuer.client_id, "post_logout_redirect_uri": f"{self._url}/"}
        return _with(page, asked) if page is not None else None

    @property
    def _callback(self) -> str:
        return f"{self._url}/auth/callback"

    def _hashes(self, cookie: str) -> list[str]:
        return self._macs(b"hash", cookie)

    def _macs(self, use: bytes, cookie: str) -> list[str]:
        """Returns the keyed hash of a cookie for each secret, newest first."""
        data = use + b"\0" + cookie.encode(errors="replace")
        return [hmac.digest(key, data, "sha256").hex() for key in self._keys]


def _with(url: str, query: Mapping[str, str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"
