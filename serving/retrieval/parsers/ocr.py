"""Text in images by RapidOCR, which includes its models; without its group `ocr`, images are rejected."""

from __future__ import annotations

import importlib.util
import io
import warnings
from functools import cache
from typing import Any

from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parsers import OCR_NEEDED
from serving.retrieval.parsers.layout import PageLayout
from serving.retrieval.parsers.pieces import Piece
from serving.retrieval.types import Document

_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP")


def installed() -> bool:
    return importlib.util.find_spec("rapidocr") is not None


def parse_image(data: bytes, name: str, bounds: ChunkBounds) -> Document:
    """Each image of a TIFF file is a page. Other files with several, such as animations, are read at their first."""
    if not installed():
        raise UnreadableDocument("unsupported", OCR_NEEDED)
    import numpy as np
    from PIL import Image, ImageOps, ImageSequence

    builder = DocumentBuilder("image", bounds)
    layout = PageLayout(builder)
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data), formats=_FORMATS) as source:
            warnings.simplefilter("ignore")
            frames = getattr(source, "n_frames", 1) if source.format == "TIFF" else 1
            if frames > bounds.scanned_pages:
                raise UnreadableDocument("too_large", f"the image has more than {bounds.scanned_pages} pages")
            for number, frame in enumerate(ImageSequence.Iterator(source) if frames > 1 else [source], 1):
                if frame.width * frame.height > bounds.pixels:
                    raise UnreadableDocument("too_large", f"the image has more than {bounds.pixels:,} pixels")
                upright = ImageOps.exif_transpose(frame).convert("RGBA")
                paper = Image.new("RGBA", upright.size, "white")  # transparent pixels count as paper
                paper.alpha_composite(upright)
                layout.add_page(recognised(np.asarray(paper.convert("RGB"))), number if frames > 1 else None)
    except (Image.DecompressionBombError, OverflowError):
        raise UnreadableDocument("too_large", f"the image has more than {bounds.pixels:,} pixels") from None
    return builder.build(name)


def recognised(image: Any) -> list[Piece]:
    """Returns the lines of text in an image, an array of bytes of shape (height, width[, 3 for RGB]), with pixel
    positions.
    """
    import numpy as np

    grey = image if image.ndim == 2 else image.mean(axis=2)
    if grey.size == 0 or float(grey.max()) - float(grey.min()) < 16:  # blank paper
        return []
    pixels = np.stack([grey] * 3, axis=2) if image.ndim == 2 else image[:, :, ::-1]
    found = _engine()(np.ascontiguousarray(pixels, dtype=np.uint8))
    if found.txts is None:
        return []
    pieces = []
    for corners, text in zip(found.boxes, found.txts, strict=True):
        (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
        pieces.append(Piece(text, float(left), float(top), float(right), float(bottom)))
    return pieces


@cache
def _engine() -> Any:
    from rapidocr import RapidOCR

    # One thread: the sandbox limits the CPU time of all threads, and other documents need the CPU too.
    settings = {
        "Global.log_level": "critical",
        "EngineConfig.onnxruntime.intra_op_num_threads": 1,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    }
    return RapidOCR(params=settings)
