"""Identifies the caller of a request: the one place that handles both keys and tokens."""

from __future__ import annotations

from serving.core.principal import Principal
from serving.security.keys import PREFIX, Authenticator
from serving.security.tokens import TokenVerifier, is_token


class Identity:
    """Identifies callers by the `Authorization` header: API keys begin with `hr_`, and a value that looks like a JWT is
    a token.
    """

    def __init__(self, keys: Authenticator, tokens: TokenVerifier) -> None:
        self._keys = keys
        self._tokens = tokens

    async def authenticate(self, authorization: str | None, address: str | None = None) -> Principal:
        """Returns the caller at `address`, which is None for internal requests.

        Raises `AuthenticationError`, `LockedOut`, and `ProviderUnavailable` when the token cannot be verified now.
        """
        scheme, _, credential = (authorization or "").partition(" ")
        credential = credential.strip()
        if scheme.lower() == "bearer" and not credential.startswith(PREFIX) and is_token(credential):
            return await self._tokens.principal(credential)
        return await self._keys.authenticate(authorization, address)
