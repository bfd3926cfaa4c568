"""Compile a pipeline function with kfp, once: what was compiled is kept until a file that it was made from changes."""

import hashlib
import importlib.util
import json
import os
import re
import sys
import traceback
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import trainwright_components
from trainwright_components.errors import InvalidPipeline, TrainwrightError, UserCodeError
from trainwright_components.files import content_digest, write_whole
from trainwright_components.user_module.from_source import spec_from_source
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.requests.finding import KfpPipeline, PipelineSource, read_compiled
from trainwright_pipelines.requests.groups import places_in_groups

_OUR_PACKAGES = (Path(trainwright_components.__file__).parent, Path(__file__).parents[1])


def load_pipeline(source: PipelineSource, cache: Path) -> CompiledPipeline:
    """The compiled pipeline of `source`, from `cache` when no file that it was made from has changed.

    Raises:
        InvalidPipeline: It cannot be read or compiled.
        UserCodeError: The user's file raised.
    """
    if source.kfp_pipeline is not None:
        return _compile(source.kfp_pipeline, name=source.name)
    if source.is_compiled:
        return read_compiled(source.file)
    entry = cache / f"{source.name}-{_entry_key(source)}.json"
    if (kept := _read_entry(entry)) is not None:
        return kept
    pipeline, files = compile_source(source)
    digests = {str(file): content_digest(file) for file in files}
    write_whole(entry, json.dumps({"files": digests, "pipeline": asdict(pipeline)}))
    return pipeline


def compile_source(source: PipelineSource) -> tuple[CompiledPipeline, list[Path]]:
    """Import and compile a pipeline function; the pipeline, and the files that it was made from."""
    with redirect_stdout(sys.stderr):  # what the user's file prints must not end up in --json
        from kfp.dsl.base_component import BaseComponent

        function = getattr(_import_file(source.file), source.function)
        if not isinstance(function, BaseComponent):
            raise InvalidPipeline(f"{source.file}:{source.function} is not a pipeline: put @dsl.pipeline above it")
        pipeline = _compile(function, name=f"{source.file}:{source.function}")
    return pipeline, _files_behind(source.file)


def _compile(pipeline: KfpPipeline, *, name: str) -> CompiledPipeline:
    import tempfile

    from kfp import compiler

    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "pipeline.yaml"
        try:
            compiler.Compiler().compile(pipeline, package_path=str(output))
        except Exception as error:
            raise InvalidPipeline(f"{name} does not compile: {error}") from error
        return read_compiled(output)


def _import_file(file: Path) -> ModuleType:
    """Import the user's file as `python file.py` would: its folder comes first on the path."""
    if file.is_relative_to(_OUR_PACKAGES[1]):
        return importlib.import_module(f"trainwright_pipelines.definitions.{file.stem}")
    module_spec = spec_from_source(file.stem, file)
    if module_spec is None or module_spec.loader is None:
        raise InvalidPipeline(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[file.stem] = module
    sys.path.insert(0, str(file.parent))
    try:
        module_spec.loader.exec_module(module)
    except TrainwrightError:
        raise
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
        users = [frame for frame in frames if not frame.filename.startswith(str(_OUR_PACKAGES[1]))]
        text = "".join(["Traceback:\n", *traceback.format_list(users), *traceback.format_exception_only(error)])
        raise UserCodeError(
            f"{file} cannot be imported: {error}{_moved_argument(error)}", user_traceback=text
        ) from error
    finally:
        sys.path.remove(str(file.parent))
    return module


def _moved_argument(error: Exception) -> str:
    """Where an argument that one of our components took in earlier releases has gone."""
    # the sentence of kfp 2.17, dsl/base_component.py, which gives nothing else to tell it by
    found = re.match(r'([\w-]+)\(\) got an unexpected keyword argument "(\w+)"', str(error))
    name = found[1].replace("-", "_") if found else ""
    if not found or not (_OUR_PACKAGES[0] / name / "component.py").is_file():
        return ""
    component = getattr(importlib.import_module(f"trainwright_components.{name}.component"), name)
    places = places_in_groups(found[2], dict.fromkeys(component.component_spec.inputs, "STRUCT"))
    ways = [f'{name}({group}={{"{setting}": ...}})' for group, _, setting in (each.partition(".") for each in places)]
    return f" It is now written {' or '.join(ways)}" if ways else ""


def _files_behind(file: Path) -> list[Path]:
    """The loaded Python files that decide what is compiled: the user's, our packages', and the compiler's version."""
    loaded = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    files = {each if each.startswith(os.sep) else str(Path(each).absolute()) for each in loaded if each.endswith(".py")}
    ours = tuple(f"{root}{os.sep}" for root in _OUR_PACKAGES)
    users = f"{file.parent}{os.sep}"
    import kfp.version

    behind = {
        each
        for each in files
        if each.startswith(ours) or (each.startswith(users) and f"{os.sep}site-packages{os.sep}" not in each)
    }
    return sorted({Path(each) for each in behind} | {file, Path(kfp.version.__file__)})


def _entry_key(source: PipelineSource) -> str:
    return hashlib.sha256(os.fsencode(f"{source.file}:{source.function}:{sys.version_info[:2]}")).hexdigest()[:16]


def stale_entries(cache: Path) -> list[Path]:
    """Compiled pipelines in `cache` that no run would take any more: a file that they were made from has changed."""
    return [entry for entry in sorted(cache.glob("*.json")) if _read_entry(entry) is None]


def _read_entry(entry: Path) -> CompiledPipeline | None:
    try:
        kept: dict[str, Any] = json.loads(entry.read_text())
        if all(content_digest(Path(file)) == digest for file, digest in kept["files"].items()):
            return CompiledPipeline(**kept["pipeline"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # absent, older form, or half-deleted: compiling again makes it whole
    return None
