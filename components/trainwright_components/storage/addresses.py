"""Addresses as text: the scheme of one, its bucket, its last part. Paths of this machine have no scheme."""

from pathlib import Path

FILE_SCHEME = "file://"
_MARK = "://"


def scheme_of(location: str) -> str:
    """`gs` of `gs://bucket/file`; nothing for a path, which has none."""
    scheme, mark, _ = location.partition(_MARK)
    return scheme if mark else ""


def is_remote(location: str) -> bool:
    """Whether `location` is elsewhere than on this machine: whether it has a scheme."""
    return _MARK in location


def plain(location: str) -> str:
    """`location` without `file://`."""
    return location.removeprefix(FILE_SCHEME)


def normalize(location: str) -> str:
    """`location` without `file://` and with `~` resolved."""
    location = plain(location)
    return location if is_remote(location) else str(Path(location).expanduser())


def split_bucket(location: str) -> tuple[str, str]:
    """Bucket and key of `scheme://bucket/key`; the key has no slash at its ends."""
    bucket, _, key = location.partition(_MARK)[2].strip("/").partition("/")
    return bucket, key.strip("/")


def split_prefix(folder: str) -> tuple[str, str]:
    """Bucket and the beginning of all keys below `scheme://bucket/folder`."""
    bucket, key = split_bucket(folder)
    return bucket, f"{key}/" if key else ""


def child_name(key: str, prefix: str) -> str:
    """The name of what is directly below `prefix`, an object or, with a slash at its end, a folder.

    Raises:
        OSError: No address and no disk has such a name.
    """
    name = key.removeprefix(prefix).removesuffix("/")
    if name in ("", ".", ".."):
        raise OSError(f"what is called {key!r} there cannot be read by its name; rename or remove it")
    return name


def join(folder: str, name: str) -> str:
    """`name` in `folder`; `name` itself when it is absolute."""
    if is_remote(name) or name.startswith("/"):
        return name
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else str(Path(folder) / name)


def parent(location: str) -> str:
    """The folder that holds `location`."""
    return location.rstrip("/").rpartition("/")[0] if is_remote(location) else str(Path(location).parent)


def base_name(location: str) -> str:
    """The last part of `location`."""
    return location.rstrip("/").rpartition("/")[2]
