"""`/auth`: browsers sign in at an identity provider, get a session cookie, and sign out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from serving.api.http import JsonResponse
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.protocol.errors import ApiError, forbidden, invalid
from serving.security import flow
from serving.security.browser import Browser
from serving.security.keys import AuthenticationError
from serving.security.provider import Provider
from serving.store.sessions import Session


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
    browser, found = await _session(s, request)
    caller = found.principal
    return JsonResponse(
        {
            "object": "session",
            "id": found.id,
            "tenant": caller.tenant,
            "user": caller.user,
            "role": caller.role,
            "groups": sorted(caller.groups),
            "scopes": sorted(caller.scopes),
            "expires_at": int(found.expires_at),
            "csrf_token": browser.csrf_token(request.cookies),
        },
    )


async def logout(s: Services, request: Request, x: Exchange) -> Response:
    """Ends the browser's session. `provider_url` signs out at the provider too."""
    browser, found = await _session(s, request)
    browser.require_own(request.headers, request.cookies)

    async def recorded() -> None:
        await s.audit.record(found.principal, "session.end", found.id, request_id=x.request_id)

    page = await browser.end(found, request.cookies, recorded)
    answer = {"object": "session", "id": found.id, "deleted": True, "provider_url": page}
    response = JsonResponse(answer)
    _set(browser, response, browser.session_cookie, "", 0)
    return response


async def _session(s: Services, request: Request) -> tuple[Browser, Session]:
    browser = _browser(s)
    found = await browser.session(request.cookies)
    if found is None:
        raise AuthenticationError("nobody is signed in here")
    return browser, found


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
