"""Requests by which browsers sign in."""

from __future__ import annotations

from pydantic import Field

from serving.protocol.parts import Body


class CodeSignIn(Body):
    """`POST /auth/code`: the session acts as the key with which the code was made."""

    code: str = Field(min_length=1, max_length=1024, description="the code of a sign-in link")


class KeySignIn(Body):
    """`POST /auth/key`: the session acts as the key."""

    key: str = Field(min_length=1, max_length=256, description="an API key")
