"""A collection's manifest: how it was built. It is JSON in the table's schema, so that they cannot diverge."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Self

from serving.retrieval.errors import IncompatibleCollection

FORMAT = 1
"""Format of the table's columns and of this manifest."""


@dataclass(frozen=True, slots=True)
class CollectionManifest:
    """Everything that determines the vectors and chunks of a document; if it changes, a new index is needed."""

    embedder: str
    dimensions: int
    max_tokens: int
    overlap_tokens: int
    parser: str
    format: int = FORMAT

    def of_embedder(self, embedder: str, dimensions: int) -> Self:
        """Returns the manifest for the same chunks with another embedder's vectors."""
        return replace(self, embedder=embedder, dimensions=dimensions)

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Raises `IncompatibleCollection` when the manifest does not have this format."""
        try:
            values = json.loads(text)
            if values["format"] != FORMAT:
                raise IncompatibleCollection(
                    f"the collection has format {values['format']}, but this version reads {FORMAT}: re-index it"
                )
            return cls(**{field.name: values[field.name] for field in fields(cls)})
        except (ValueError, KeyError, TypeError):
            raise IncompatibleCollection("the collection's manifest cannot be read: re-index it") from None

    def require(self, wanted: CollectionManifest) -> None:
        """Raises `IncompatibleCollection` with all differences, unless both are equal."""
        mine, theirs = asdict(self), asdict(wanted)
        differences = [f"{k} is {mine[k]}, wanted {theirs[k]}" for k in mine if mine[k] != theirs[k]]
        if differences:
            raise IncompatibleCollection("the collection must be re-indexed: " + "; ".join(differences))
