"""The server's core: a configuration put into effect, requests resolved to versions."""

import logging
import threading
from typing import Any

from trainwright_components.model_server.core.model_config import ModelConfig, read_model_configs
from trainwright_components.model_server.core.request_log import RequestLog
from trainwright_components.model_server.manager.manager import Manager, ServableHandle
from trainwright_components.model_server.manager.source import DEFAULT_POLL_WAIT_S, FileSystemSource
from trainwright_components.model_server.servable import ServableState, State
from trainwright_components.model_server.status import Code, StatusError, invalid_argument

logger = logging.getLogger(__name__)


class ServerCore:
    """Several models behind one manager.

    Args:
        manager: Loads, unloads and lends versions.
        poll_wait_s: Seconds between two looks at the base paths.
        may_label_unavailable: New labels may point to versions that do not answer yet.
        request_log: Writes down the requests of models whose configuration asks for it.
    """

    def __init__(
        self,
        manager: Manager,
        *,
        poll_wait_s: float = DEFAULT_POLL_WAIT_S,
        may_label_unavailable: bool = False,
        request_log: RequestLog | None = None,
    ) -> None:
        self.manager = manager
        self.request_log = request_log or RequestLog()
        self._source = FileSystemSource(manager.set_aspired, poll_wait_s=poll_wait_s)
        self._may_label_unavailable = may_label_unavailable
        self._models: list[ModelConfig] | None = None
        self._labels: dict[str, dict[str, int]] = {}
        self._reload_lock = threading.Lock()

    def reload(self, config: Any, *, is_waiting: bool = True) -> None:
        """Serve what `config` lists, and nothing else.

        Args:
            config: A `ModelServerConfig`.
            is_waiting: Return only when every model that was not listed before answers or has failed.

        Raises:
            StatusError: The configuration is refused (nothing changes then), or a model did not become available.
        """
        with self._reload_lock:
            if config.WhichOneof("config") is None and self._models is None:
                logger.info("the configuration is empty: nothing is served until another comes")
                return
            models = read_model_configs(config, before=self._models)
            self._labels = self._checked_labels(models)
            known = {model.source.name for model in self._models or ()}
            self._models = models
            self.request_log.set_configs({m.source.name: m.logging for m in models if m.logging is not None})
            self._source.set_models(tuple(model.source for model in models))
            if is_waiting:
                self._wait_until_available([model for model in models if model.source.name not in known])

    def handle(self, spec: Any) -> ServableHandle:
        """Lend the version that a `ModelSpec` means; to be given back, as by the end of a `with` block.

        Raises:
            StatusError: No such model, version or label answers.
        """
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        version = spec.version.value if spec.HasField("version") else None
        if spec.version_label:
            version = self._labels.get(spec.name, {}).get(spec.version_label)
            if version is None:
                raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
        return self.manager.handle(spec.name, version)

    def states(self, name: str, version: int | None = None) -> list[ServableState]:
        """States of one or all versions of a model.

        Raises:
            StatusError: No such version was ever seen.
        """
        states = self.manager.states(name)
        if version is not None:
            states = [state for state in states if state.id.version == version]
            if not states:
                raise StatusError(Code.NOT_FOUND, f"Could not find version {version} of model {name}")
        if not states:
            raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
        return states

    def model_names(self) -> list[str]:
        """Models of the configuration."""
        return [model.source.name for model in self._models or ()]

    def unavailable_models(self) -> list[str]:
        """Models of the configuration of which no version answers."""
        names = [model.source.name for model in self._models or ()]
        return [name for name in names if not any(s.state is State.AVAILABLE for s in self.manager.states(name))]

    def close(self) -> None:
        """Unload everything."""
        self._source.close()
        self.manager.close()
        self.request_log.close()

    def _wait_until_available(self, models: list[ModelConfig]) -> None:
        failed: list[ServableState] = []
        for model in models:
            states = self.manager.wait_until_settled(model.source.name)
            if not any(state.state is State.AVAILABLE for state in states):
                failed.extend(state for state in states if state.error_message)
        if failed:
            what = "".join(
                f"{{{state.id} due to error: {state.error_code.name}: {state.error_message}}}, " for state in failed
            )
            raise StatusError(Code.UNKNOWN, f"{len(failed)} model(s) did not become available: {{{what}}}")

    def _checked_labels(self, models: list[ModelConfig]) -> dict[str, dict[str, int]]:
        for model in models:
            name = model.source.name
            available = {state.id.version for state in self.manager.states(name) if state.state is State.AVAILABLE}
            for label, version in model.labels.items():
                is_moved = self._labels.get(name, {}).get(label, version) != version
                if version in available or (self._may_label_unavailable and not is_moved):
                    continue
                raise StatusError(
                    Code.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {name}, "
                    "which is not currently available for inference",
                )
        return {model.source.name: model.labels for model in models}
