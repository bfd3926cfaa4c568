"""The lowered command of a Python step is Python itself: SIGTERM reaches the user's handler and not a waiting shell."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl

from trainwright_pipelines.ir.compiled import CompiledPipeline
from trainwright_pipelines.requests.compiling import load_pipeline
from trainwright_pipelines.requests.finding import read_compiled, shipped_pipelines
from trainwright_pipelines.targets.lowering import draft_for_containers, lower_for_kubeflow, lower_for_vertex


def train(folder: str) -> None:
    import pathlib
    import signal
    import sys
    import time

    def save(*_: object) -> None:
        pathlib.Path(folder, "saved").touch()
        sys.exit(143)

    signal.signal(signal.SIGTERM, save)
    pathlib.Path(folder, "ready").touch()
    time.sleep(600)


PLAIN = dsl.component(train, base_image="python:3.12", install_kfp_package=False)
WITH_PACKAGES = dsl.component(train, base_image="python:3.12", packages_to_install=["six"])


def lowered_command(component: Any, lower: Any, folder: Path) -> list[str]:
    @dsl.pipeline(name="one")
    def one(folder: str) -> None:
        component(folder=folder)

    compiler.Compiler().compile(one, str(folder / "one.yaml"))
    [executor] = lower(read_compiled(folder / "one.yaml"), {}).spec["deploymentSpec"]["executors"].values()
    outputs = {"outputFile": str(folder / "out.json")}
    executor_input = json.dumps({"inputs": {"parameterValues": {"folder": str(folder)}}, "outputs": outputs})
    parts = [*executor["container"]["command"], *executor["container"]["args"]]
    offline = [re.sub(r"python3 -m pip install [^&]*", "true ", part) for part in parts]
    return [part.replace("{{$}}", executor_input) for part in offline]


@pytest.mark.parametrize(
    ("component", "lower"),
    [(PLAIN, lower_for_kubeflow), (PLAIN, lower_for_vertex), (WITH_PACKAGES, lower_for_kubeflow)],
)
def test_sigterm_to_the_command_reaches_the_users_handler(component: Any, lower: Any, tmp_path: Path) -> None:
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(lowered_command(component, lower, tmp_path), env=env, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "ready").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (tmp_path / "ready").exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
        assert (tmp_path / "saved").exists()
    finally:
        with suppress(ProcessLookupError):  # the shell's child outlives it, where there still is a shell
            os.killpg(process.pid, signal.SIGKILL)


KFP_SCRIPT = (
    'program_path=$(mktemp -d)\n\nprintf "%s" "$0" > "$program_path/ephemeral_component.py"\n'
    "_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main  "
    '--component_module_path  "$program_path/ephemeral_component.py"  "$@"\n'
)
RUN = ["sh", "-ec", KFP_SCRIPT, "def f(): pass"]
FUNCTION = ["--executor_input", "{{$}}", "--function_to_execute", "f"]


@pytest.mark.parametrize(
    ("command", "args"),
    [
        (["sh", "-c", 'trap \'rm -f lock\' EXIT\ntouch lock && "$0" "$@"', *RUN], FUNCTION),
        (["sh", "-c", 'trap "rm -f lock" EXIT\ntouch lock && "$0" "$@"', "python3", "train.py"], []),
        (["bash", "-c", 'train() { python3 "$@"; }\ntrue && "$0" "$@"', "train", "train.py"], []),
        (["sh", "-c", "trap clean EXIT\npython3 -m kfp.dsl.executor_main --component_module_path m.py"], FUNCTION),
        (["sh", "-ec", "trap clean EXIT\n" + KFP_SCRIPT, "def f(): pass"], FUNCTION),
        (["bash", "-ec", KFP_SCRIPT, "def f(): pass"], FUNCTION),
        (RUN, []),
    ],
)
def test_a_shell_with_text_of_its_own_is_left_alone(command: list[str], args: list[str]) -> None:
    container = {"image": "python:3.12", "command": command, "args": args}
    spec = {"root": {}, "deploymentSpec": {"executors": {"exec-own": {"container": container}}}}
    lowered = draft_for_containers(CompiledPipeline(name="own", spec=spec), {}).done()
    assert lowered.spec["deploymentSpec"]["executors"]["exec-own"]["container"]["command"] == command


def test_every_way_of_kfps_to_install_packages_is_known(tmp_path: Path) -> None:
    ways: list[dict[str, Any]] = [
        {},
        {"packages_to_install": ["six"], "pip_index_urls": ["https://a.example/simple", "https://b.example/simple"]},
        {"use_venv": True, "packages_to_install": ['six>=1; python_version<"4"', "git+https://h.example/x@v1&y"]},
        {"use_venv": True},
        {"install_kfp_package": False, "packages_to_install": ["six"], "pip_trusted_hosts": ["a.example"]},
    ]
    for way in ways:
        *install, _, _, run, _ = lowered_command(
            dsl.component(train, base_image="python:3.12", **way), lower_for_kubeflow, tmp_path
        )[:7]
        assert install[-1].endswith('&& exec "$0" "$@"\n'), way
        assert "exec python3 -m kfp" in run


@pytest.mark.parametrize("lower", [lower_for_kubeflow, lower_for_vertex])
@pytest.mark.parametrize("name", sorted(shipped_pipelines()))
def test_every_step_of_the_shipped_pipelines_is_python_itself(name: str, lower: Any, tmp_path: Path) -> None:
    spec = lower(load_pipeline(shipped_pipelines()[name], tmp_path), {}).spec
    executors = [each["container"] for each in spec["deploymentSpec"]["executors"].values() if "container" in each]
    scripts = [container["command"][2] for container in executors]
    assert len(scripts) >= 1
    for script in scripts:
        assert "\nexport _KFP_RUNTIME=true\nexec python3 -m kfp.dsl.executor_main " in script
