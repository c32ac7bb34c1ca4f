"""`/auth`: browsers sign in at an identity provider or with an API key, get a session cookie, and sign out."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from serving.api.addresses.client_address import address_of
from serving.api.http import JsonResponse, read_json
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.protocol.errors import ApiError, forbidden, invalid
from serving.protocol.sign_in import CodeSignIn, KeySignIn
from serving.security import flow
from serving.security.browser import Browser
from serving.security.keys import AuthenticationError
from serving.security.lockout import LockedOut
from serving.security.provider import Provider
from serving.security.sign_in_codes import CodeError
from serving.store.sessions import Session


async def providers(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the identity providers at which a browser can sign in, and whether it can with an API key."""
    data = [
        {"name": name, "label": provider.issuer.label or name} for name, provider in sorted(s.browser.providers.items())
    ]
    return JsonResponse({"object": "list", "data": data, "key": True})


async def key(s: Services, request: Request, x: Exchange) -> Response:
    """Signs a browser in with an API key: its session acts as the key, and ends no later than the key does."""
    s.browser.require_own_origin(request.headers)
    body = await read_json(request, KeySignIn, s.limits)
    try:
        found = await s.authenticator.verify(body.key, address_of(request.scope, s.config.trusted_proxies))
    except LockedOut:
        s.audit.count("session.create", "locked_out")
        raise
    if found is None:
        s.audit.count("session.create", "invalid")
        raise AuthenticationError("the API key is not valid")

    async def recorded(made: Session) -> None:
        await s.audit.record(made.principal, "session.create", made.id, request_id=x.request_id)

    made, cookie = await s.browser.begin_with_key(found, request.cookies, recorded)
    response = JsonResponse(_document(s.browser, made, cookie))
    _set(s.browser, response, s.browser.session_cookie, cookie, int(made.expires_at - made.created_at))
    return response


async def make_code(s: Services, request: Request, x: Exchange) -> Response:
    """Makes a code that signs one browser in as this API key within 15 minutes; the page takes it from `path`."""
    s.sign_in_codes.require_address(address_of(request.scope, s.config.trusted_proxies))
    # A session would prolong itself this way.
    by_key = "authorization" in request.headers
    made = await s.sign_in_codes.make(x.caller) if by_key else None
    if made is None:
        raise forbidden("api_key_required", "Making a sign-in link requires an API key.")
    return JsonResponse(
        {
            "object": "sign_in_code",
            "id": made.id,
            "code": made.code,
            "path": f"/#sign-in={made.code}",  # browsers send no server the part after the #
            "expires_at": made.expires_at,
        }
    )


async def use_code(s: Services, request: Request, x: Exchange) -> Response:
    """Signs a browser in with the code of a sign-in link, which then works no more."""
    s.browser.require_own_origin(request.headers)
    address = address_of(request.scope, s.config.trusted_proxies)
    s.sign_in_codes.require_address(address)
    body = await read_json(request, CodeSignIn, s.limits)

    async def recorded(made: Session) -> None:
        await s.sign_in_codes.use(caller, name, expires_at)
        await s.audit.record(made.principal, "session.create", made.id, request_id=x.request_id)

    try:
        async with s.authenticator.attempt(address) as attempt:
            try:
                caller, name, expires_at = await s.sign_in_codes.owner(body.code)
                made, cookie = await s.browser.begin_with_key(caller, request.cookies, recorded)
            except CodeError as e:
                if e.guessed:  # an own link that is opened again is no attack
                    attempt.wrong()
                raise
    except (CodeError, LockedOut) as e:
        s.audit.count("session.create", "invalid" if isinstance(e, CodeError) else "locked_out")
        raise
    response = JsonResponse(_document(s.browser, made, cookie))
    _set(s.browser, response, s.browser.session_cookie, cookie, int(made.expires_at - made.created_at))
    return response


async def login(s: Services, request: Request, x: Exchange) -> Response:
    """Redirects the browser to its identity provider, which redirects back to `next`."""
    browser = _browser(s)
    next = request.query_params.get("next", "/")
    if not flow.own_path(next):
        raise invalid(f"next must be a path of this host with at most {flow.MAX_NEXT} characters.", "next")
    page, cookie = await browser.begin(_provider(browser, request.query_params.get("provider")), next)
    response = RedirectResponse(page, 303)
    _set(browser, response, browser.flow_cookie, cookie, flow.LIFETIME_S)
    return response


async def callback(s: Services, request: Request, x: Exchange) -> Response:
    """Receives the browser from the identity provider, and creates its session."""
    browser = _browser(s)

    async def recorded(made: Session) -> None:
        await s.audit.record(made.principal, "session.create", made.id, request_id=x.request_id)

    try:
        _, cookie, next = await browser.finish(request.query_params, request.cookies, recorded)
    except flow.FlowError as e:
        s.audit.count("session.create", "sign_in_failed")
        raise invalid(str(e), code="sign_in_failed") from None
    except AuthenticationError as e:
        s.audit.count("session.create", "access_denied")
        raise forbidden("access_denied", f"You are not allowed to sign in: {e}.") from None
    response = RedirectResponse(s.config.oidc.url + next, 303)
    _set(browser, response, browser.session_cookie, cookie, int(s.config.oidc.session_hours * 3600))
    _set(browser, response, browser.flow_cookie, "", 0)
    return response


async def session(s: Services, request: Request, x: Exchange) -> Response:
    """Returns the browser's session: the user, and the token that changes require in `x-csrf-token`."""
    found = await _session(s, request)
    return JsonResponse(_document(s.browser, found, request.cookies[s.browser.session_cookie]))


async def logout(s: Services, request: Request, x: Exchange) -> Response:
    """Ends the browser's session. `provider_url` signs out at the provider too."""
    browser, found = s.browser, await _session(s, request)
    browser.require_own(request.headers, request.cookies)

    async def recorded() -> None:
        await s.audit.record(found.principal, "session.end", found.id, request_id=x.request_id)

    page = await browser.end(found, request.cookies, recorded)
    answer = {"object": "session", "id": found.id, "deleted": True, "provider_url": page}
    response = JsonResponse(answer)
    _set(browser, response, browser.session_cookie, "", 0)
    return response


async def sessions(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the sessions of the person, or of the key, that is signed in in the browser."""
    found = await _session(s, request)
    data = [
        {
            "object": "session",
            "id": each.id,
            "provider": each.issuer or None,
            "created_at": int(each.created_at),
            "last_used_at": int(each.used_at),
            "expires_at": int(each.expires_at),
            "current": each.id == found.id,
        }
        for each in await s.sessions.list(found.principal)
    ]
    return JsonResponse({"object": "list", "data": data})


async def end_session(s: Services, request: Request, x: Exchange) -> Response:
    """Ends one of these sessions."""
    found, id = await _session(s, request), request.path_params["session_id"]
    s.browser.require_own(request.headers, request.cookies)

    async def recorded() -> None:
        await s.audit.record(found.principal, "session.end", id, request_id=x.request_id)

    await s.sessions.end_one(found.principal, id, recorded)
    response = JsonResponse({"object": "session", "id": id, "deleted": True})
    if id == found.id:
        _set(s.browser, response, s.browser.session_cookie, "", 0)
    return response


async def _session(s: Services, request: Request) -> Session:
    found = await s.browser.session(request.cookies)
    if found is None:
        raise AuthenticationError("nobody is signed in here")
    return found


def _document(browser: Browser, found: Session, cookie: str) -> dict[str, Any]:
    caller = found.principal
    return {
        "object": "session",
        "id": found.id,
        "tenant": caller.tenant,
        "user": caller.user,
        "role": caller.role,
        "groups": sorted(caller.groups),
        "scopes": sorted(caller.scopes),
        "expires_at": int(found.expires_at),
        "csrf_token": browser.csrf_token(cookie),
    }


def _browser(s: Services) -> Browser:
    if not s.browser.providers:
        raise ApiError("not_found", "This stack has no single sign-on.")
    return s.browser


def _provider(browser: Browser, name: str | None) -> Provider:
    providers = browser.providers
    if name is None and len(providers) == 1:
        return next(iter(providers.values()))
    if name not in providers:
        raise invalid(f"provider must be one of {', '.join(sorted(providers))}.", "provider")
    return providers[name]


def _set(browser: Browser, response: Response, name: str, value: str, max_age_s: int) -> None:
    response.set_cookie(name, value, max_age_s, path="/", secure=browser.secure, httponly=True, samesite="lax")
