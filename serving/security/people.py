"""Users who sign in at an identity provider."""

from __future__ import annotations

import hashlib

from serving.core.principal import SCOPES_OF, Principal
from serving.core.ttl_cache import TtlCache
from serving.security.person import Person, TokenError
from serving.store.errors import Conflict, InvalidValue, NotFound
from serving.store.users import Users


class KnownPeople:
    """`People` who are stored as users: a provider's subject is one user of one tenant for ever.

    Role and groups are those of the last sign-in, also for the user's API keys and sessions; those in a token apply to
    its own requests only, since an older token may still be valid. Users are cached for `ttl_s` seconds: a disabled
    user can sign in that much longer.
    """

    def __init__(self, users: Users, *, ttl_s: float = 10, size: int = 4096) -> None:
        self._users = users
        self._known: TtlCache[Principal] = TtlCache(ttl_s, size)

    async def admit(self, person: Person, *, fresh: bool = False) -> Principal:
        """Returns the principal for `person`, who may be new. Raises `TokenError` for those who are not allowed to sign
        in.
        """
        said = (person.issuer, person.subject, person.tenant, person.user, person.role, *sorted(person.groups))
        key = hashlib.sha256("\0".join(said).encode()).digest()
        if not fresh and (known := self._known.get(key)) is not None:
            return known
        try:
            user = await self._users.signed_in(
                person.tenant,
                person.user,
                subject=(person.issuer, person.subject),
                role=person.role,
                groups=person.groups,
                fresh=fresh,
            )
        except (Conflict, InvalidValue) as e:
            raise TokenError(f"the token's user is not allowed to sign in: {e}") from None
        except NotFound:
            raise TokenError("the token's tenant does not exist") from None
        principal = Principal(
            tenant=user.tenant,
            user=user.user,
            key_id=person.id,
            scopes=SCOPES_OF[person.role],
            role=person.role,
            groups=person.groups,
        )
        self._known.put(key, principal)
        return principal
