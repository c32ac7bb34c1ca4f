"""A link with a one-time code, which opens the page of a stack on this host and signs the browser in."""

from __future__ import annotations

import httpx

from tools.report import ToolError

FORBIDDEN = 403


def sign_in_link(url: str, key: str) -> str | None:
    """Returns a link for one browser that acts as the key; None where the stack's settings allow none.

    The key is in the request alone: the link has a code, which works once within 15 minutes. Raises `ToolError` when
    the stack does not answer.
    """
    headers = {"Authorization": f"Bearer {key}"}
    try:
        answer = httpx.post(f"{url}/auth/codes", headers=headers, timeout=60, trust_env=False)
        if answer.status_code == FORBIDDEN:
            return None
        return f"{url}{answer.raise_for_status().json()['path']}"
    except httpx.HTTPError as e:
        raise ToolError(f"the stack made no sign-in link: {e}") from None
