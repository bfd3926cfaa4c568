"""Take each field out of all pipelines that a test runs, and see the test fail that is said to cover the field.

    python -m tests.campaigns.constructs [MESSAGE...]

Prints the fields whose test passes without them, and the counts; ends with 1 if there are any. Loaded by pytest as a
plug-in, with TRAINWRIGHT_DROPPED=package.Message.field, it takes out that field.
"""

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor
from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes_pb2
from kfp.pipeline_spec import pipeline_spec_pb2
from tests.pipelines.engine.constructs import is_test, messages, name_of, read_table, told_of

ROOT = Path(__file__).parents[2]
VARIABLE = "TRAINWRIGHT_DROPPED"
HANGS_AFTER_S = 120
_SPEC = pipeline_spec_pb2.DESCRIPTOR.message_types_by_name
_EXECUTOR_CONFIG = kubernetes_pb2.DESCRIPTOR.message_types_by_name["KubernetesExecutorConfig"]
_STRUCTS = {  # fields of free form that hold other messages
    "ml_pipelines.PipelineSpec.deployment_spec": _SPEC["PipelineDeploymentConfig"],
    "ml_pipelines.PlatformDeploymentConfig.executors": _EXECUTOR_CONFIG,
}


def drop(content: Any, message: Descriptor, field_name: str) -> Any:
    """`content`, a message in KFP's JSON, without the field that has this full name, wherever it is inside."""
    if not isinstance(content, Mapping):
        return content
    fields = {name: field for field in message.fields for name in (field.json_name, field.name)}
    left = {}
    for key, value in content.items():
        field = fields.get(key)
        if field is None:
            left[key] = value
        elif field.full_name != field_name:
            left[key] = _drop_inside(value, field, field_name)
    return left


def _drop_inside(value: Any, field: Any, field_name: str) -> Any:
    inner = _STRUCTS.get(field.full_name, field.message_type)
    if inner is None:
        return value
    is_map = field.message_type.GetOptions().map_entry
    if is_map:
        inner = _STRUCTS.get(field.full_name, field.message_type.fields_by_name["value"].message_type)
    if inner is None:
        return value
    if is_map:
        return {key: drop(each, inner, field_name) for key, each in value.items()}
    if isinstance(value, list):
        return [drop(each, inner, field_name) for each in value]
    return drop(value, inner, field_name)


def pytest_configure() -> None:
    """Take the field out of what the engine reads, and of what it and a task tell each other."""
    from trainwright_pipelines.engine import contract, execution, platform_settings, pod_fields, preparing, resolve
    from trainwright_pipelines.ir import parsing, resources

    name = os.environ[VARIABLE]
    without = functools.partial(drop, field_name=name)
    wrap(
        parsing,
        "parse_documents",
        lambda spec, platform: (without(spec, _SPEC["PipelineSpec"]), without(platform, _SPEC["PlatformSpec"])),
    )
    for module in (platform_settings, execution):
        wrap(module, "read_settings", lambda config: (without(config, _EXECUTOR_CONFIG),))
    wrap(pod_fields, "read_pod_fields", lambda config: (without(config, _EXECUTOR_CONFIG),))
    container = _SPEC["PipelineDeploymentConfig"].nested_types_by_name["PipelineContainerSpec"]
    wrap(resources, "read_resources", lambda asked, fill: (without(asked, container), fill))
    wrap(
        parsing,
        "parse_source",
        lambda raw: (without(raw, _SPEC["TaskInputsSpec"].nested_types_by_name["InputParameterSpec"]),),
    )
    for module in (contract, preparing):
        wrap_result(module, "build_executor_input", lambda made: without(made, _SPEC["ExecutorInput"]))
    wrap_result(resolve, "final_status", lambda status: without(status, _SPEC["PipelineTaskFinalStatus"]))
    wrap_result(contract, "_executor_output", lambda said: without(said, _SPEC["ExecutorOutput"]))


def wrap(module: Any, name: str, change: Callable[..., tuple[Any, ...]]) -> None:
    """Have the first arguments of a function changed."""
    before = getattr(module, name)

    @functools.wraps(before)
    def changed(*given: Any, **named: Any) -> Any:
        return before(*change(*given), **named)

    setattr(module, name, changed)


def wrap_result(module: Any, name: str, change: Callable[[Any], Any]) -> None:
    """Have the result of a function changed."""
    before = getattr(module, name)
    setattr(module, name, functools.wraps(before)(lambda *given, **named: change(before(*given, **named))))


def main() -> int:
    """Go through the table; 1 if a test does not need the field that it is said to cover."""
    table, wanted = read_table(), sys.argv[1:]
    needless, count = [], 0
    for message in messages():
        if wanted and name_of(message) not in wanted:
            continue
        for field, text in told_of(table, message).items():
            if is_test(text):
                count += 1
                name = f"{message.full_name}.{field}"
                command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", __spec__.name]
                try:
                    done = subprocess.run(
                        [*command, f"tests/pipelines/{text}"],
                        cwd=ROOT,
                        env={**os.environ, VARIABLE: name},
                        capture_output=True,
                        timeout=HANGS_AFTER_S,
                        check=False,
                    )
                except subprocess.TimeoutExpired:  # as a step without its deadline does
                    continue
                if done.returncode != 1:
                    needless.append(name)
                    print(f"{name}: exit code {done.returncode} of {text}", flush=True)
    print(f"{count} fields, {count - len(needless)} needed by their tests")
    return int(bool(needless))


if __name__ == "__main__":
    sys.exit(main())
