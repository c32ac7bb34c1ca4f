"""People who sign in at an identity provider, as users of a tenant."""

from __future__ import annotations

import hashlib

from serving.core.principal import SCOPES_OF, Principal
from serving.core.ttl_cache import TtlCache
from serving.security.person import Person, TokenError
from serving.store.errors import Conflict, InvalidValue, NotFound
from serving.store.users import Users


class KnownPeople:
    """`People` that are kept among the users: a provider's subject is one user of one tenant for ever.

    Role and groups are what the provider said at the last sign-in, for their API keys and sessions too; those of a
    token hold for its own requests, since an older token may be good still. Remembers each for `ttl_s` seconds: whoever
    is disabled can come in that much longer.
    """

    def __init__(self, users: Users, *, ttl_s: float = 10, size: int = 4096) -> None:
        self._users = users
        self._known: TtlCache[Principal] = TtlCache(ttl_s, size)

    async def admit(self, person: Person, *, fresh: bool = False) -> Principal:
        """Returns who `person` is here, who may be new. Raises `TokenError` for those who may not come in."""
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
            raise TokenError(f"the token is of nobody who may come in: {e}") from None
        except NotFound:
            raise TokenError("the token is of a tenant that is not here") from None
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
