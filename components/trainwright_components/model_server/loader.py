"""Loaders make a servable from a folder: load, then replay its warm-up records."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trainwright_components.model_server.saved_model import DEFAULT_TAGS, SavedModel
from trainwright_components.model_server.servable import Servable
from trainwright_components.model_server.warmup import replay_warmup

logger = logging.getLogger(__name__)


class Loader(Protocol):
    """Make a servable, ready for its first request."""

    def load(self, path: Path) -> Servable:
        """Load what is in `path`.

        Raises:
            StatusError: It cannot be loaded, or a warm-up record fails.
        """


@dataclass(frozen=True, kw_only=True)
class SavedModelLoader:
    """Loads SavedModels; the platform `tensorflow`."""

    tags: Sequence[str] = DEFAULT_TAGS
    session_config: Any = None
    is_warmup_enabled: bool = True
    num_warmup_iterations: int = 1

    def load(self, path: Path) -> Servable:
        """See `Loader.load`."""
        model = SavedModel(path, tags=self.tags, session_config=self.session_config)
        if not self.is_warmup_enabled:
            return model
        try:
            count = replay_warmup(model, path, iterations=self.num_warmup_iterations)
        except BaseException:
            model.close()
            raise
        if count:
            logger.info("replayed %d warm-up records of %s", count, path)
        return model


if TYPE_CHECKING:
    _: type[Loader] = SavedModelLoader
