"""Who sends a request: the one place where keys and tokens meet."""

from __future__ import annotations

from serving.core.principal import Principal
from serving.security.keys import PREFIX, Authenticator
from serving.security.tokens import TokenVerifier, is_token


class Identity:
    """Tells callers by the `Authorization` header: API keys begin with `hr_`, and what looks like a JWT is a token."""

    def __init__(self, keys: Authenticator, tokens: TokenVerifier) -> None:
        self._keys = keys
        self._tokens = tokens

    async def authenticate(self, authorization: str | None, address: str | None = None) -> Principal:
        """Returns the caller, who asks from an `address`, None for one of our own.

        Raises `AuthenticationError`, `LockedOut`, and `ProviderUnavailable` when nobody can tell.
        """
        scheme, _, credential = (authorization or "").partition(" ")
        credential = credential.strip()
        if scheme.lower() == "bearer" and not credential.startswith(PREFIX) and is_token(credential):
            return await self._tokens.principal(credential)
        return await self._keys.authenticate(authorization, address)
