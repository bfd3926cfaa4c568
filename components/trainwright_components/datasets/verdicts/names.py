"""What the names of columns say."""

import re

_ID_WORDS = frozenset({"id", "ids", "uuid", "guid", "uid", "idx", "index", "rowid", "rownames", "rownum", "serial"})


def words_of(name: str) -> list[str]:
    """The words of `name` in small letters: customer and id of `CustomerID` and of `customer_id`."""
    parted = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name))
    return [word for word in re.split(r"[\W_]+", parted.lower()) if word]


def has_name_of_an_id(name: str) -> bool:
    """Whether a word of `name` says that it is an id; `Unnamed: 0` is what pandas calls row names."""
    return bool(_ID_WORDS & set(words_of(name))) or name.startswith("Unnamed: ")
