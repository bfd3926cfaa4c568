"""Logical names of the images that components run in; a target turns them into real ones before anything is sent."""

LOGICAL_PREFIX = "trainwright/"
CPU_IMAGE = "trainwright/cpu"


def is_logical(image: str) -> bool:
    """Whether `image` is a name of ours that a target still has to resolve."""
    return image.startswith(LOGICAL_PREFIX)
