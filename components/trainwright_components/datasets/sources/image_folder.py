"""Folders of images: one per class, optionally below train/, validation/, test/; or a flat folder, unlabelled.

An image in a folder within that of a class is of that class.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trainwright_components.datasets.chunks import CHUNK_BYTES, Chunk, Source, SourceTraits
from trainwright_components.errors import InvalidData
from trainwright_components.storage.addresses import base_name
from trainwright_components.storage.locations import is_folder, list_folder, read_bytes

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_SPLITS = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}
_CHUNK_IMAGES = 64

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Image:
    path: str
    split: str
    class_name: str


class ImageFolder:
    """Images with the columns `image` (encoded bytes), `path` and, where there are class folders, `label`."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._notes: list[str] = []
        self._images = list(_find_images(folder, self._notes))
        if not self._images:
            raise InvalidData(f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES)}), nor do the folders in it")
        self._is_labelled = all(image.class_name for image in self._images)

    @property
    def paths(self) -> tuple[str, ...]:
        """Where each image is."""
        return tuple(image.path for image in self._images)

    @property
    def traits(self) -> SourceTraits:
        """What is known before reading."""
        return SourceTraits(
            name=base_name(self._folder),
            columns=("image", "path", "label") if self._is_labelled else ("image", "path"),
            is_split=bool(self._images[0].split),
            default_label="label" if self._is_labelled else "",
            identifiers=("path",),
            kinds={"image": "image"},
            read_from=self.paths,
        )

    def chunks(self) -> Iterator[Chunk]:
        """All images from the start, in the order of their paths; the first call says what is left out."""
        while self._notes:
            _log.warning(self._notes.pop(0))
        waiting: list[_Image] = []
        contents: list[bytes] = []
        first_row = 1
        for image in self._images:
            is_full = len(waiting) == _CHUNK_IMAGES or sum(map(len, contents)) > CHUNK_BYTES
            if waiting and (is_full or image.split != waiting[0].split):
                yield self._chunk(waiting, contents, first_row)
                first_row += len(waiting)
                waiting, contents = [], []
            waiting.append(image)
            contents.append(read_bytes(image.path))
        yield self._chunk(waiting, contents, first_row)

    def _chunk(self, images: list[_Image], contents: list[bytes], first_row: int) -> Chunk:
        columns = {
            "image": _objects(contents),
            "path": _objects([image.path.removeprefix(self._folder).lstrip("/") for image in images]),
        }
        if self._is_labelled:
            columns["label"] = _objects([image.class_name for image in images])
        return Chunk(columns=columns, origin=self._folder, first_row=first_row, split=images[0].split)


def _objects(values: list[bytes] | list[str]) -> "np.ndarray[tuple[int], np.dtype[np.object_]]":
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _find_images(folder: str, notes: list[str]) -> Iterator[_Image]:
    entries = list_folder(folder)
    folders = [entry for entry in entries if is_folder(entry)]
    if folders and all(base_name(entry) in _SPLITS for entry in folders):
        for entry in folders:
            yield from _find_classes(list_folder(entry), notes, split=_SPLITS[base_name(entry)])
    else:
        yield from _find_classes(entries, notes, split="")


def _find_classes(entries: list[str], notes: list[str], *, split: str) -> Iterator[_Image]:
    folders = [entry for entry in entries if is_folder(entry)]
    loose = [path for path in entries if path.lower().endswith(IMAGE_SUFFIXES)]
    if not folders:
        yield from (_Image(path=path, split=split, class_name="") for path in loose)
        return
    if loose:
        notes.append(f"images beside the folders of classes are left out ({len(loose):,}, such as {loose[0]})")
    for folder in folders:
        paths = list(_images_below(folder))
        if not paths:
            notes.append(f"{folder} holds no image, so that it is no class")
        yield from (_Image(path=path, split=split, class_name=base_name(folder)) for path in paths)


def _images_below(folder: str) -> Iterator[str]:
    for path in list_folder(folder):
        if is_folder(path):
            yield from _images_below(path)
        elif path.lower().endswith(IMAGE_SUFFIXES):
            yield path


_: type[Source] = ImageFolder
