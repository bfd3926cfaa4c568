"""The user's code: load a model module, call it, and check it before anything expensive starts. Trains nothing."""

import importlib
import importlib.util
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from trainwright_components.errors import InvalidModule, UserCodeError
from trainwright_components.hints import did_you_mean
from trainwright_components.user_module.conventions import ENTRY_FILES, merge_params
from trainwright_components.user_module.from_source import spec_from_source
from trainwright_components.user_module.model_inputs import TakenInput
from trainwright_components.user_module.traceback import (
    format_user_traceback,
    innermost_own_error,
    last_user_frame,
    reason_of,
)

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from trainwright_components.datasets.schema import Schema
    from trainwright_components.datasets.statistics import Statistics

_MODULE_PREFIX = "trainwright_user_"

Features = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a model module may know: read-only, and the same in training, evaluation and export.

    Args:
        params: Hyperparameters: `DEFAULT_PARAMS` with the overrides of this run.
        batch_size: Examples per step over all replicas.
        role: `chief`, `worker`, `ps` or `evaluator`.
        replicas: Model copies that train in step; 1 outside a cluster.
        log_dir: Where TensorBoard logs of this training run go; None where nothing is trained, or no logs are wanted.
    """

    params: Mapping[str, Any]
    schema: "Schema"
    statistics: "Statistics"
    dataset: Path
    batch_size: int = 64
    seed: int = 0
    role: str = "chief"
    role_index: int = 0
    replicas: int = 1
    log_dir: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", MappingProxyType(dict(self.params)))

    def with_replicas(self, replicas: int) -> "Context":
        """The same with the number of replicas that the strategy turned out to have."""
        return replace(self, replicas=replicas)


@dataclass(frozen=True, kw_only=True)
class ModelModule:
    """A loaded model module; its functions report their exceptions as `UserCodeError` with the user's own traceback.

    Args:
        taken_input: How the model takes the one feature; None as it comes.
    """

    location: Path
    name: str
    python_module: ModuleType = field(repr=False)
    taken_input: TakenInput | None = None

    @property
    def default_params(self) -> Mapping[str, Any]:
        """`DEFAULT_PARAMS`, or nothing."""
        return self._mapping("DEFAULT_PARAMS")

    @property
    def search_space(self) -> Mapping[str, Any]:
        """`SEARCH_SPACE`, or nothing."""
        return self._mapping("SEARCH_SPACE")

    @property
    def has_preprocess(self) -> bool:
        """Whether the module transforms raw features at all."""
        return self._function("preprocess") is not None

    def build_model(self, context: Context) -> "keras.Model":
        """The compiled model; call it under the strategy's scope."""
        with self.user_code("build_model"):
            return self.python_module.build_model(context)

    def preprocess(self, features: Features, context: Context) -> Any:
        """What the model takes, from batched raw features; the features themselves without a `preprocess`."""
        function = self._function("preprocess")
        given = dict(features)
        if function is not None:
            with self.user_code("preprocess"):
                given = function(given, context)
        return given if self.taken_input is None else self.taken_input.hand_over(given)

    def for_model(self, model: "keras.Model") -> "ModelModule":
        """The same module, with a `preprocess` that knows how `model` takes its one input."""
        taken = TakenInput.of_model(model, is_named_by_user=self.has_preprocess)
        return self if taken is None else replace(self, taken_input=taken)

    @property
    def make_dataset(self) -> "Callable[[str, Context], tf.data.Dataset] | None":
        """The user's reader of unbatched examples, if there is one; what it returns is checked."""
        function = self._wrapped("make_dataset")
        if function is None:
            return None

        def make(split: str, context: Context) -> "tf.data.Dataset":
            from trainwright_components.user_module.dataset_check import check_dataset

            return check_dataset(function(split, context), split, module=self.location.name)

        return make

    @property
    def callbacks(self) -> "Callable[[Context], list[keras.callbacks.Callback]] | None":
        """The user's Keras callbacks, if there are any."""
        return self._wrapped("callbacks")

    @property
    def train(self) -> "Callable[[Context], keras.Model] | None":
        """The user's own training in place of our loop, if there is one."""
        return self._wrapped("train")

    @contextmanager
    def user_code(self, what: str) -> Iterator[None]:
        """Turn an exception that passes through the user's files into a `UserCodeError`; leave others alone.

        An error of ours stays what it is, and gets the user's frames.
        """
        try:
            yield
        except Exception as error:
            frame = last_user_frame(error, self.location)
            if ours := innermost_own_error(error):
                if frame is not None and not ours.user_traceback:
                    ours.user_traceback = format_user_traceback(error, self.location)
                raise ours from ours.__cause__  # AutoGraph wraps what is raised while it makes a graph
            if frame is None:
                raise
            place = f"{Path(frame.filename).name}, line {frame.lineno}"
            raise UserCodeError(
                f"{what} of {self.location.name} failed: {_first_line(error)} ({place})",
                user_traceback=format_user_traceback(error, self.location),
            ) from error

    def custom_objects(self) -> dict[str, Any]:
        """Classes and functions that this module defines, by name, for `keras.models.load_model`."""
        own = self.python_module.__name__
        return {
            name: value
            for name, value in vars(self.python_module).items()
            if callable(value) and getattr(value, "__module__", None) == own
        }

    def copy_to(self, folder: Path) -> Path:
        """Copy the module's file or folder into `folder`; returns what `load_module` takes to load the copy."""
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / self.location.name
        if self.location.is_file():
            shutil.copyfile(self.location, target)
        else:
            skip = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(self.location, target, ignore=skip, dirs_exist_ok=True)
        return target

    def _function(self, name: str) -> Callable[..., Any] | None:
        value = getattr(self.python_module, name, None)
        if value is not None and not callable(value):
            raise InvalidModule(f"{name} in {self.location} must be a function, got {type(value).__name__}")
        return value

    def _wrapped(self, name: str) -> Callable[..., Any] | None:
        function = self._function(name)
        if function is None:
            return None

        def call(*args: Any) -> Any:
            with self.user_code(name):
                return function(*args)

        return call

    def _mapping(self, name: str) -> Mapping[str, Any]:
        value = getattr(self.python_module, name, {})
        if not isinstance(value, Mapping):
            raise InvalidModule(f"{name} in {self.location} must be a mapping, got {type(value).__name__}")
        return MappingProxyType(dict(value))


def load_module(location: str | Path) -> ModelModule:
    """Load a model module from a `.py` file, a folder with `model.py` or `__init__.py`, or a dotted name.

    Raises:
        InvalidModule: There is no such file, or it has no `build_model`.
        UserCodeError: The user's code raised while it was imported.
    """
    path = Path(location).expanduser()
    if path.is_dir():
        module = _load_folder(path.resolve())
    elif path.is_file():
        module = _load_file(path.resolve())
    elif isinstance(location, str) and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", location):
        module = _load_dotted(location)
    else:
        raise InvalidModule(f"there is no model module at {location}: give a .py file, a folder, or a dotted name")
    build = getattr(module.python_module, "build_model", None)
    if not callable(build):
        names = [name for name in vars(module.python_module) if not name.startswith("__")]
        raise InvalidModule(
            f"{module.location} has no build_model(context) function; add one that returns a compiled keras.Model"
            + did_you_mean("build_model", names, list_at_most=0)
        )
    return module


def resolve_params(module: ModelModule, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`DEFAULT_PARAMS` of `module` with `overrides`, which take the type of the default that they replace.

    Raises:
        InvalidSetting: An override that the module does not know, or of another type.
    """
    return merge_params(module.default_params, overrides, owner=module.location.name)


def _load_folder(folder: Path) -> ModelModule:
    entry = next((folder / name for name in ENTRY_FILES if (folder / name).is_file()), None)
    if entry is None:
        raise InvalidModule(f"the model module folder {folder} has neither {' nor '.join(ENTRY_FILES)}")
    _forget(folder)
    sys.path.insert(0, str(folder))  # `import layers` beside model.py works as it does for a script
    package_name = _module_name(folder)
    if entry.name == "__init__.py":
        python_module = _execute(entry, package_name, shown_as=folder, search=[str(folder)])
    else:
        package = ModuleType(package_name)
        package.__path__ = [str(folder)]
        sys.modules[package_name] = package
        python_module = _execute(entry, f"{package_name}.model", shown_as=folder)
    return ModelModule(location=folder, name=folder.name, python_module=python_module)


def _load_file(file: Path) -> ModelModule:
    if file.suffix != ".py":
        raise InvalidModule(f"a model module is a .py file or a folder, got {file}")
    python_module = _execute(file, _module_name(file), shown_as=file)
    return ModelModule(location=file, name=file.stem, python_module=python_module)


def _load_dotted(name: str) -> ModelModule:
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        found = None
    if found is None or found.origin is None:
        raise InvalidModule(f"there is no model module {name!r}: neither a file of that name nor an importable module")
    file = Path(found.origin)
    location = file.parent if file.name == "__init__.py" else file
    holder = ModelModule(location=location, name=name, python_module=ModuleType(name))
    with _importing(holder):
        return ModelModule(location=location, name=name, python_module=importlib.import_module(name))


def _execute(file: Path, name: str, *, shown_as: Path, search: list[str] | None = None) -> ModuleType:
    spec = spec_from_source(name, file, search=search)
    if spec is None or spec.loader is None:
        raise InvalidModule(f"{file} cannot be imported as Python")
    python_module = importlib.util.module_from_spec(spec)
    sys.modules[name] = python_module  # Keras finds unregistered custom classes by module name
    with _importing(ModelModule(location=shown_as, name=shown_as.stem, python_module=python_module)):
        spec.loader.exec_module(python_module)
    return python_module


@contextmanager
def _importing(module: ModelModule) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        place = f" ({error.filename}, line {error.lineno})" if isinstance(error, SyntaxError) else ""
        hint = ""
        if isinstance(error, ModuleNotFoundError) and error.name and module.location.is_file():
            helper = module.location.parent / f"{error.name.split('.')[0]}.py"
            hint = f"; {helper.name} lies beside it: give the folder instead of the file" if helper.is_file() else ""
        raise UserCodeError(
            f"{module.location} cannot be imported: {_first_line(error)}{place}{hint}",
            user_traceback=format_user_traceback(error, module.location),
        ) from error


def _forget(folder: Path) -> None:
    """Drop helper modules whose names `folder` also uses, so that two versions of one module do not mix."""
    if str(folder) in sys.path:
        sys.path.remove(str(folder))
    for helper in folder.glob("*.py"):
        origin = getattr(sys.modules.get(helper.stem), "__file__", None)
        if origin and (Path(origin).parent / "model.py").is_file():
            del sys.modules[helper.stem]


def _module_name(path: Path) -> str:
    return _MODULE_PREFIX + re.sub(r"\W", "_", path.stem)


def _first_line(error: BaseException) -> str:
    text = reason_of(error)
    first = text.splitlines()[0] if text else ""
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
