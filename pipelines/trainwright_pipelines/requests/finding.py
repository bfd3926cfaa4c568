"""Find a pipeline by what a person calls it: a shipped name, `file.py:function`, or a compiled YAML. Imports no kfp."""

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from trainwright_components.errors import InvalidPipeline
from trainwright_components.hints import did_you_mean
from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.ir.parsing import read_documents

DEFINITIONS = Path(__file__).parents[1] / "definitions"
YAML_SUFFIXES = (".yaml", ".yml", ".json")


@runtime_checkable
class KfpPipeline(Protocol):
    """What `@dsl.pipeline` and `@dsl.component` make of a function."""

    @property
    def pipeline_spec(self) -> Any:
        """KFP's PipelineSpec."""

    @property
    def platform_spec(self) -> Any:
        """KFP's PlatformSpec."""


@dataclass(frozen=True, kw_only=True)
class PipelineSource:
    """Where a pipeline is defined: a Python function, or a compiled file when `function` is empty.

    `kfp_pipeline` is one that lives in this process, as in a notebook; it has no file.
    """

    name: str
    file: Path
    function: str = ""
    kfp_pipeline: KfpPipeline | None = None

    @property
    def is_shipped(self) -> bool:
        """Whether the pipeline came with the product, so that its parameters are known."""
        return self.file.parent == DEFINITIONS

    @property
    def reference(self) -> str:
        """What names it in a command, from any folder."""
        return f"{self.file}:{self.function}" if self.function else str(self.file)

    @property
    def is_compiled(self) -> bool:
        """Whether the file is a compiled pipeline."""
        return not self.function


def shipped_pipelines() -> dict[str, PipelineSource]:
    """The pipelines that come with the product: name to source, sorted."""
    return {
        file.stem: PipelineSource(name=file.stem, file=file, function=file.stem)
        for file in sorted(DEFINITIONS.glob("*.py"))
        if not file.stem.startswith("_")
    }


def find_pipeline(reference: str | Path | KfpPipeline) -> PipelineSource:
    """The source that `reference` names or is; hyphens and underscores are the same in shipped names.

    Raises:
        InvalidPipeline: There is no such pipeline, file or function.
    """
    if isinstance(reference, KfpPipeline):
        return PipelineSource(name=str(getattr(reference, "name", "")), file=Path(), kfp_pipeline=reference)
    if not isinstance(reference, str | Path):
        raise InvalidPipeline(
            "a pipeline is named by text or a path, such as file.py:function, or is a function under @dsl.pipeline; "
            f"got {reference!r}"
        )
    reference = str(reference)
    shipped = shipped_pipelines()
    if source := shipped.get(reference.replace("-", "_")):
        return source
    location, separator, function = reference.rpartition(":")
    if separator and location.endswith(".py"):
        return _function_in_file(Path(location), function)
    path = Path(reference)
    if path.suffix in YAML_SUFFIXES:
        if not path.is_file():
            raise InvalidPipeline(f"no file {reference}")
        return PipelineSource(name=path.stem, file=path.absolute())
    if path.suffix == ".py":
        return _only_function_in_file(path)
    raise InvalidPipeline(
        f"no pipeline {reference!r}{did_you_mean(reference, shipped)} "
        "(a shipped pipeline's name, file.py:function, or a compiled YAML file)"
    )


def describe_function(source: PipelineSource) -> str:
    """First line of the docstring of the pipeline's function, without importing it; empty when there is none."""
    for node in _functions(source.file):
        if node.name == source.function:
            return (ast.get_docstring(node) or "").partition("\n")[0]
    return ""


def read_compiled(file: Path) -> CompiledPipeline:
    """Read a compiled pipeline: one YAML document, or two when it holds platform settings.

    Raises:
        InvalidPipeline: `file` is not a compiled pipeline.
    """
    try:
        text = file.read_text()
    except UnicodeDecodeError as error:
        raise InvalidPipeline(f"{file} is not valid YAML: {error}") from error
    spec, platform = read_documents(text, str(file))
    name = str((spec.get("pipelineInfo") or {}).get("name") or file.stem)
    return CompiledPipeline(name=name, spec=spec, platform=platform)


def _function_in_file(file: Path, function: str) -> PipelineSource:
    names = [node.name for node in _functions(file)]
    wanted = function.replace("-", "_")
    if wanted not in names:
        raise InvalidPipeline(f"{file} has no function {function!r}{did_you_mean(function, names)}")
    return PipelineSource(name=wanted, file=file.absolute(), function=wanted)


def _only_function_in_file(file: Path) -> PipelineSource:
    pipelines = [node.name for node in _functions(file) if any(_is_pipeline(each) for each in node.decorator_list)]
    if len(pipelines) == 1:
        return PipelineSource(name=pipelines[0], file=file.absolute(), function=pipelines[0])
    if not pipelines:
        raise InvalidPipeline(f"{file} has no @dsl.pipeline")
    found = ", ".join(f"{file}:{name}" for name in pipelines)
    raise InvalidPipeline(f"{file} defines several pipelines; choose one of {found}")


def _is_pipeline(decorator: ast.expr) -> bool:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (isinstance(target, ast.Attribute) and target.attr == "pipeline") or (
        isinstance(target, ast.Name) and target.id == "pipeline"
    )


def _functions(file: Path) -> list[ast.FunctionDef]:
    if not file.is_file():
        raise InvalidPipeline(f"no file {file}")
    try:
        tree = ast.parse(file.read_text(), filename=str(file))
    except SyntaxError as error:
        raise InvalidPipeline(f"{file}, line {error.lineno}: {error.msg}") from error
    return [node for node in tree.body if isinstance(node, ast.FunctionDef)]
