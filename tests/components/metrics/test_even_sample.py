"""The sample of a stream: the rows with the smallest keys, however the stream is parted."""

import numpy as np
import pytest

from trainwright_components.metrics.even_sample import EvenSample


@pytest.mark.parametrize(("rows", "batch"), [(0, 1), (40, 7), (50, 50), (51, 1), (1_000, 7), (1_000, 1_000)])
def test_the_rows_with_the_smallest_keys_stay_in_their_order(rows: int, batch: int) -> None:
    """All keys at once, as the generator draws them, say which."""
    numbers = np.arange(rows)
    sample = EvenSample(50)
    sample.add([numbers[:0], numbers[:0].reshape(0, 1)])
    for start in range(0, rows, batch):
        part = numbers[start : start + batch]
        sample.add([part, -part[:, None]])
    expected = np.sort(np.argsort(np.random.default_rng(0).random(rows))[:50])
    found, negative = sample.result()
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(negative, -expected[:, None])
    assert EvenSample(50).result() == []
