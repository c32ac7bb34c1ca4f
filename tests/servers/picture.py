"""Pictures of pages for the documentation."""

from __future__ import annotations

import io

from PIL import Image

COLOURS = 256


def compressed(picture: bytes, lowest: int) -> bytes:
    """Returns a PNG with a palette, since pages have few colours; what lies below the lowest pixel is left out."""
    with Image.open(io.BytesIO(picture)) as whole:
        part = whole.convert("RGB").crop((0, 0, whole.width, min(whole.height, lowest)))
    made = io.BytesIO()
    part.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(made, "PNG", optimize=True)
    return made.getvalue()
