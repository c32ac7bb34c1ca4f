"""The HTML documents of the chat, the console and the API reference, and what browsers may do in them.

Sources: CSP level 3 (`strict-dynamic`), Trusted Types (W3C), OWASP's Content Security Policy Cheat Sheet.
"""

from __future__ import annotations

from urllib.parse import quote

from serving.page.assets import PageName, entries

_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#0b6b74"/>'
    '<path d="M7 9v14M25 9v14M7 13c3-3 6-3 9 0s6 3 9 0M7 19c3-3 6-3 9 0s6 3 9 0" fill="none" stroke="#fff"'
    ' stroke-width="2.2" stroke-linecap="round"/></svg>'
)
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'nonce-{nonce}' 'strict-dynamic'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src data:",  # the icon above; no image is loaded from anywhere, so none can carry data away
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_SHELL = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Headrace</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:image/svg+xml,{icon}">
<link rel="stylesheet" href="/assets/{style}">{preload}
<script type="module" nonce="{nonce}" src="/assets/{script}"></script>
</head>
<body><div id="page"><noscript>This page needs JavaScript.</noscript></div></body>
</html>
"""
_SESSION = '\n<link rel="preload" as="fetch" crossorigin href="/auth/session">'
"""Asks for the session while the script is still loading, which saves a round trip; `crossorigin` is how `fetch` asks.

Nothing else is asked for early: a sign-in link may be about to begin another session."""


def policy(nonce: str) -> str:
    """Returns the content security policy under which only the script with this nonce runs."""
    return _POLICY.format(nonce=nonce)


def shell(nonce: str, page: PageName = "chat", *, session: bool = False) -> str:
    """Returns the document of a page, which asks early who is signed in if the browser has a `session`."""
    first, preload = entries(page), _SESSION if session else ""
    return _SHELL.format(icon=quote(_ICON), style=first.style, script=first.script, nonce=nonce, preload=preload)
