"""The size of the pictures in a source, from the heads of some of its files."""

import io
import math
import statistics
import warnings
from collections.abc import Iterator
from itertools import islice

from PIL import Image

from trainwright_components.datasets.chunks import Source
from trainwright_components.datasets.schema import Feature
from trainwright_components.datasets.sources.image_folder import ImageFolder
from trainwright_components.errors import InvalidData
from trainwright_components.storage.addresses import join, parent
from trainwright_components.storage.locations import read_bytes

_LOOKED_AT = 200


def median_side(source: Source, picture: Feature) -> float:
    """The shorter side of the median picture among some of the column `picture`, in pixels.

    Raises:
        InvalidData: One of them is not an image.
    """
    if picture.dtype != "string":
        return min(picture.shape[:2])
    sides = (min(_size(place, content)) for place, content in _some(source, picture.name))
    return statistics.median(islice(sides, _LOOKED_AT))


def _some(source: Source, name: str) -> Iterator[tuple[str, bytes]]:
    """Encoded pictures and where they are: of a folder from all over it, of a table the first."""
    if isinstance(source, ImageFolder):
        for path in source.paths[:: math.ceil(len(source.paths) / _LOOKED_AT)]:
            yield path, read_bytes(path)
        return
    for chunk in source.chunks():
        for row, value in enumerate(chunk.column(name).tolist()):
            place = join(parent(chunk.origin), value) if isinstance(value, str) else chunk.place(row)
            yield place, value if isinstance(value, bytes) else read_bytes(place)


def _size(place: str, content: bytes) -> tuple[int, int]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:
                return image.size
    except Exception as error:  # Pillow raises whatever its many formats raise
        raise InvalidData(f"{place} is not an image, or its format is not known; replace or remove it") from error
