"""Loaders make a servable from a folder: load, put batching around it, warm it up."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainwright_components.model_server.batching.setup import Batching
from trainwright_components.model_server.metrics import ServingMetrics
from trainwright_components.model_server.models.made_up_warmup import warm_up_from_signatures
from trainwright_components.model_server.models.saved_model import DEFAULT_TAGS, SavedModel
from trainwright_components.model_server.models.tflite_model import FILE_NAME as TFLITE_FILE
from trainwright_components.model_server.models.tflite_model import TfliteModel
from trainwright_components.model_server.models.timed import TimedServable
from trainwright_components.model_server.models.warmup import WARMUP_FILE, replay_warmup
from trainwright_components.model_server.servable import Loader, Servable, ServableId
from trainwright_components.model_server.status import Code, StatusError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SavedModelLoader:
    """Loads SavedModels and TFLite models; the platform `tensorflow`.

    Args:
        tags: The MetaGraph to load.
        session_config: `ConfigProto` of the sessions.
        batching: Puts requests together; none where each is computed alone.
        is_warmup_enabled: Replay warm-up records.
        num_warmup_iterations: How often each is replayed.
        is_warmup_made_up: Where there are no records, compute each signature once on zeros.
        tflite_interpreters: Interpreters of a TFLite model; 0 = SavedModels only.
    """

    tags: Sequence[str] = DEFAULT_TAGS
    session_config: Any = None
    batching: Batching | None = None
    is_warmup_enabled: bool = True
    num_warmup_iterations: int = 1
    is_warmup_made_up: bool = True
    tflite_interpreters: int = 0
    metrics: ServingMetrics = field(default_factory=ServingMetrics)

    def load(self, servable_id: ServableId, path: Path) -> Servable:
        """See `Loader.load`."""
        servable = self._read(path)
        try:
            if self.is_warmup_made_up and not (self.is_warmup_enabled and (path / WARMUP_FILE).is_file()):
                warm_up_from_signatures(servable)
            if self.batching is not None:
                servable = self.batching.around(servable, path)
            servable = TimedServable(servable, servable_id.name, self.metrics)
            if self.is_warmup_enabled:
                self._replay(servable, path)
        except BaseException:
            servable.close()
            raise
        return servable

    def _read(self, path: Path) -> Servable:
        try:
            servable = self._read_either(path)
        except StatusError as error:
            self.metrics.load_attempt_count.add(str(path), error.code.name)
            raise
        self.metrics.load_attempt_count.add(str(path), "success")
        return servable

    def _read_either(self, path: Path) -> Servable:
        if self.tflite_interpreters and (path / TFLITE_FILE).is_file():
            return TfliteModel(path, interpreters=self.tflite_interpreters)
        return SavedModel(path, tags=self.tags, session_config=self.session_config, on_run=self.metrics.graph_runs.add)

    def _replay(self, servable: Servable, path: Path) -> None:
        started = time.monotonic()
        status = Code.OK
        try:
            count = replay_warmup(servable, path, iterations=self.num_warmup_iterations)
        except StatusError as error:
            status = error.code
            raise
        finally:
            if (path / WARMUP_FILE).is_file():
                microseconds = (time.monotonic() - started) * 1e6
                self.metrics.warmup_latency.add(str(path), status.name, value=microseconds)
        if count:
            logger.info("replayed %d warm-up records of %s", count, path)


if TYPE_CHECKING:
    _: type[Loader] = SavedModelLoader
