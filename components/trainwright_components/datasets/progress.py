"""Say every few seconds how far a stream of rows has come."""

import logging
import time

INTERVAL_S = 5.0


class ProgressLog:
    """Logs plain lines such as `prepared 12,000 of 90,000 rows (13 %)`; silent while everything is quick."""

    def __init__(self, logger: logging.Logger, verb: str, *, total: int | None = None) -> None:
        self._logger, self._verb, self._total = logger, verb, total
        self._rows, self._said_s = 0, time.monotonic()

    def add(self, rows: int) -> None:
        """Count more rows."""
        self._rows += rows
        now = time.monotonic()
        if now - self._said_s < INTERVAL_S:
            return
        self._said_s = now
        if self._total:
            share = 100 * self._rows / self._total
            self._logger.info("%s %s of %s rows (%.0f %%)", self._verb, f"{self._rows:,}", f"{self._total:,}", share)
        else:
            self._logger.info("%s %s rows", self._verb, f"{self._rows:,}")
