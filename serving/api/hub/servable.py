"""Whether a version of the hub can be served now, for the routes that make one live."""

from __future__ import annotations

from serving.api.services import Services
from serving.config import LlamaCppModel, VllmModel
from serving.hub.bases import BaseUnreadable
from serving.hub.versions import Version
from serving.inference.exchange import Exchange
from serving.protocol.errors import conflict


def require_adapter(version: Version) -> None:
    """Raises a 409 for a version of another kind."""
    if version.kind != "adapter":
        raise conflict("Only adapters can be served beside their base.")


async def require_same_base(s: Services, x: Exchange, version: Version) -> None:
    """Raises a 409 for an adapter that was trained for other weights than its base has now, as far as these are known:
    engines would serve it all the same, with bad answers.
    """
    model = s.catalog.current.router.model(version.base, x.caller)
    if not isinstance(model, LlamaCppModel | VllmModel):
        raise conflict(f"You may not call the model {version.base} any more.")
    try:
        digest = (await s.registry.bases.facts(model)).digest
    except BaseUnreadable:  # its weights are where its replicas are
        return
    if digest not in ("", version.base_digest):
        raise conflict(f"The version was made for weights that {version.base} no longer has: make a new one.")
