"""The words of a text, and how many texts of a stream hold each. A model's graph finds the same ones; no TensorFlow."""

import re
from collections import Counter
from collections.abc import Iterable

MAX_WORDS = 10_000
_MAX_COUNTED = 20 * MAX_WORDS
_SHORTEST = 2  # characters, as scikit-learn's TfidfVectorizer has it
NO_WORD = r"[^\p{L}\p{N}_]+"
"""What lies between words, for RE2, which TensorFlow uses; Python's `re` calls it `\\W`."""
CHARACTER = "([\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])"
"""Of Chinese and Japanese, which have no blanks between words: each counts as a word. For RE2 and Python's `re`."""


def space_characters(text: str) -> str:
    """`text` with blanks around what `CHARACTER` finds."""
    return text if text.isascii() else re.sub(CHARACTER, r" \1 ", text)


class WordCounts:
    """In how many texts each word is; where there are too many words, the rarest so far are forgotten now and then."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, texts: Iterable[str]) -> None:
        """Take more texts."""
        for text in texts:
            words = re.split(r"\W+", space_characters(text.lower()))
            self._counts.update({word for word in words if len(word) >= _SHORTEST or re.match(CHARACTER, word)})
            if len(self._counts) > _MAX_COUNTED:
                self._counts = Counter(dict(self._counts.most_common(_MAX_COUNTED // 2)))

    def result(self) -> dict[str, int]:
        """Up to `MAX_WORDS`, most frequent first; none where no two texts have one in common, as with identifiers."""
        ranked = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_WORDS]
        return dict(ranked) if ranked and ranked[0][1] > 1 else {}
