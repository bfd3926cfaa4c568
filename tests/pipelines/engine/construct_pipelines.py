"""Tiny pipelines for single constructs of the IR, compiled with those of `tiny_pipelines`."""

# As KFP's users write components: bare open, functional NamedTuples, defaults that KFP copies.
# ruff: noqa: B006, PTH110, PTH112, PTH123, SIM115, UP006, UP035

import functools
from typing import List

from kfp import dsl, kubernetes
from tests.pipelines.engine.authoring import OURS, PLAIN, pipeline


@dsl.component(**PLAIN)
def note(log: str, text: str) -> str:
    with open(log, "a") as file:
        file.write(text)
    return text


@dsl.component(**PLAIN)
def third_time(log: str, text: str) -> int:
    """Write a text, and succeed once the file holds three of it."""
    with open(log, "a") as file:
        file.write(text)
    tries = open(log).read().count(text)
    if tries < 3:
        raise RuntimeError(f"try {tries}")
    return tries


@pipeline
def two_steps(log: str) -> str:
    first = note(log=log, text="a")
    with dsl.ExitHandler(note(log=log, text="x")):
        third_time(log=log, text="b").after(first)
    return first.output


@pipeline
def retried_group(log: str) -> str:
    return two_steps(log=log).set_retry(5, backoff_duration="0s").output


@pipeline
def retried_group_in_a_loop(log: str) -> list:
    with dsl.ParallelFor(["p", "q"], parallelism=1) as item:
        each = two_steps(log=f"{log}-{item}").set_retry(2, backoff_duration="0s")
    return dsl.Collected(each.output)


@pipeline
def twenty_items(log: str):
    with dsl.ParallelFor(list(range(20))) as item, dsl.If(item == 0):
        first = note(log=log, text="a")
    third_time(log=log, text="b").after(first)


@pipeline
def long_loop(log: str):
    twenty_items(log=log).set_retry(2, backoff_duration="0s")


@pipeline
def retried_slowly(log: str) -> int:
    return third_time(log=log, text="b").set_retry(2, backoff_duration="3600s").output


def maybe_write(data: dsl.Output[dsl.Dataset], metrics: dsl.Output[dsl.Metrics], text: str = "") -> str:
    if text:
        with open(data.path, "w") as file:
            file.write(text)
    return "done"


maybe_write_theirs = dsl.component(maybe_write, **PLAIN)
maybe_write_ours = dsl.component(maybe_write, **OURS)


@dsl.component(**PLAIN)
def is_there(data: dsl.Input[dsl.Dataset]) -> bool:
    import os

    return os.path.exists(data.path)


@pipeline
def unwritten() -> bool:
    """What a step of somebody else's leaves unwritten, and who reads it."""
    return is_there(data=maybe_write_theirs().outputs["data"]).output


@dsl.component(**PLAIN)
def read_all(one: dsl.Input[dsl.Dataset], many: dsl.Input[List[dsl.Model]]) -> List[str]:
    return [open(each.path).read() for each in [one, *many]]


@dsl.component(**PLAIN)
def is_given(model: dsl.Input[dsl.Model] = None) -> bool:
    return model is not None


@pipeline
def takes_artifacts(
    one: dsl.Input[dsl.Dataset], many: dsl.Input[List[dsl.Model]], perhaps: dsl.Input[dsl.Model] = None
):
    """Read what it is given.

    Args:
        one: Rows.
        many: Models.
        perhaps: Another.
    """
    read_all(one=one, many=many)
    is_given(model=perhaps)


@dsl.component(**PLAIN)
def read_one(model: dsl.Input[dsl.Model]) -> str:
    return open(model.path).read()


@pipeline
def loops_over_artifacts(many: dsl.Input[List[dsl.Model]]) -> list:
    with dsl.ParallelFor(many) as model:
        each = read_one(model=model)
    return dsl.Collected(each.output)


@dsl.component(**PLAIN)
def give_numbers(model: dsl.Output[dsl.Model], metrics: dsl.Output[dsl.Metrics]) -> dict:
    open(model.path, "w").close()
    model.metadata.update(size=3, big=2**53 + 1, ratio=1.0, flag=True, parts={"a": [1, 2.5]})
    metrics.log_metric("loss", float("nan"))
    return {"whole": 1, "big": 2**53 + 1, "point": 1.0, "flag": True, "below": [float("-inf")]}


@dsl.component(**PLAIN)
def show_numbers(
    values: dict, model: dsl.Input[dsl.Model], metrics: dsl.Input[dsl.Metrics], given: list = [1, 2.5, True]
) -> str:
    return repr((values, model.metadata, metrics.metadata, given))


@dsl.component(**PLAIN)
def show_metadata(model: dsl.Input[dsl.Model]) -> str:
    return repr(model.metadata)


@pipeline
def numbers(path: str):
    gave = give_numbers()
    show_numbers(values=gave.outputs["Output"], model=gave.outputs["model"], metrics=gave.outputs["metrics"])
    imported = dsl.importer(
        artifact_uri=path, artifact_class=dsl.Model, metadata={"size": 3, "ratio": 1.5, "parts": {"a": [1, 2]}}
    )
    show_metadata(model=imported.output)


@dsl.component(**PLAIN)
def refuse_text(text: str) -> str:
    raise ValueError(text)


@pipeline
def inner_steps(text: str):
    note(log="/dev/null", text=text)


@pipeline
def named_groups(number: int = 1):
    with dsl.If(number == 1, name="good enough"):
        inner_steps(text="a").set_display_name("Deploy it")
        with dsl.If(number < 5):
            refuse_text(text="b").set_display_name("Refuse")
    with dsl.Else(name="not good"):
        note(log="/dev/null", text="c")
    with dsl.ParallelFor([1], name="each one"):
        note(log="/dev/null", text="d")


@dsl.component(
    **PLAIN,
    task_config_passthroughs=[
        dsl.TaskConfigField.RESOURCES,
        dsl.TaskConfigPassthrough(field=dsl.TaskConfigField.ENV, apply_to_task=True),
        dsl.TaskConfigField.KUBERNETES_NODE_SELECTOR,
        dsl.TaskConfigField.KUBERNETES_TOLERATIONS,
        dsl.TaskConfigField.KUBERNETES_AFFINITY,
        dsl.TaskConfigField.KUBERNETES_VOLUMES,
    ],
)
def hand_on(folder: str, config: dsl.TaskConfig) -> dict:
    import dataclasses
    import os

    return {**dataclasses.asdict(config), "COLOUR": os.environ["COLOUR"], "mounted": os.path.isdir("/data")}


@dsl.component(**PLAIN)
def hand_on_nothing(config: dsl.TaskConfig) -> str:
    return repr(config)


@functools.partial(pipeline, config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi")))
def task_config(cpu: str = "2", tolerations: list = [{"key": "gpu", "operator": "Exists"}]):
    task = (
        hand_on(folder=dsl.WORKSPACE_PATH_PLACEHOLDER + "/x")
        .set_cpu_limit(cpu)
        .set_memory_request("64Gi")
        .set_env_variable("COLOUR", "red")
    )
    task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(8)
    kubernetes.use_field_path_as_env(task, "POD", "metadata.name")
    kubernetes.add_node_selector(task, "pool", "big")
    kubernetes.add_toleration(task, key="spot", operator="Exists", effect="NoSchedule", toleration_seconds=30)
    kubernetes.add_toleration_json(task, tolerations)
    kubernetes.add_node_affinity(task, match_expressions=[{"key": "zone", "operator": "In", "values": ["a"]}], weight=5)
    kubernetes.mount_pvc(task, pvc_name="claim", mount_path="/data", sub_path="in")
    kubernetes.use_secret_as_volume(task, secret_name="keys", mount_path="/keys")
    hand_on_nothing()


@dsl.container_component
def show_variables(out: dsl.OutputPath(str), text: str):
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-ec", 'printf "%s|" "$A" "$B" "$LABEL" "$NOTE" "$POD_UID" "$@" > "$0"', out],
        args=[
            "$(A)",
            "$$(A)",
            "$(B) $(POD_UID)",
            "$(date)",
            text,
            dsl.ConcatPlaceholder(["<", text, "$(QUOTED)>"]),
        ],
    )


@pipeline
def variables():
    """Kubernetes fills what the pipeline's author wrote, and not what comes in by parameters."""
    task = show_variables(text="$(A)").set_env_variable("A", "a-$(B)").set_env_variable("B", "b-$(A)")
    task.set_env_variable("QUOTED", 'say "no"')
    kubernetes.use_field_path_as_env(task, "LABEL", "metadata.labels['team']")
    kubernetes.use_field_path_as_env(task, "NOTE", "metadata.annotations['none']")
    kubernetes.use_field_path_as_env(task, "POD_UID", "metadata.uid")
    kubernetes.add_pod_label(task, "team", "vision")


@dsl.component(**PLAIN)
def take_memory(megabytes: int) -> int:
    return len(b"x" * (megabytes << 20))


@pipeline
def asking(cores: str = "500m", gpus: int = 8, kind: str = "nvidia.com/gpu"):
    large = take_memory(megabytes=150).set_cpu_request(cores).set_memory_limit("999G")
    large.set_accelerator_type(kind).set_accelerator_limit(gpus).set_display_name("Large")
    take_memory(megabytes=1).set_memory_request("64Mi").set_memory_limit("1Gi").set_display_name("Small")


@dsl.component(**PLAIN)
def waits_for_ever(log: str):
    """Say that it runs, and on SIGTERM that it was asked to end."""
    import os
    import signal
    import time

    def end(*_: object) -> None:
        with open(log, "a") as file:
            file.write("t")
        os._exit(1)

    signal.signal(signal.SIGTERM, end)
    with open(log, "a") as file:
        file.write("w")
    while True:
        time.sleep(60)


@dsl.component(**PLAIN)
def saves(log: str, fifo: str):
    """On SIGTERM, save until told to go on; count in the log what else was asked meanwhile."""
    import signal
    import sys

    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    with open(log, "ab", buffering=0) as file:
        file.write(b"w")
        signal.sigwait([signal.SIGTERM])
        with open(fifo, "w") as saving:
            saving.write("saving")
        with open(fifo + ".go") as go_on:
            go_on.read()
        file.write(b"t" if signal.SIGTERM in signal.sigpending() else b"s")
    sys.exit(1)


@functools.partial(pipeline, config=dsl.PipelineConfig(active_deadline_seconds=1))
def saves_at_the_deadline(log: str, fifo: str):
    saves(log=log, fifo=fifo)


@pipeline
def saves_at_its_timeout(log: str, fifo: str):
    kubernetes.set_timeout(saves(log=log, fifo=fifo), 1)


@dsl.component(**PLAIN)
def note_status(log: str, status: dsl.PipelineTaskFinalStatus):
    with open(log, "a") as file:
        file.write(f"<{status.state}>")


@functools.partial(pipeline, config=dsl.PipelineConfig(active_deadline_seconds=1))
def over_its_deadline(log: str):
    with dsl.ExitHandler(note_status(log=log)):
        first = waits_for_ever(log=log).set_retry(3, backoff_duration="0s")
        note(log=log, text="never").after(first)
    two_steps(log=f"{log}-2").set_retry(5, backoff_duration="3600s")


@pipeline
def timed_out(log: str):
    task = waits_for_ever(log=log).set_retry(1, backoff_duration="0s")
    kubernetes.set_timeout(task, 1)


@pipeline
def retried_beside_another(log: str):
    """While a step waits for its next try, others have its place."""
    third_time(log=log, text="b").set_retry(1, backoff_duration="3600s")
    note(log=log, text="n")


@dsl.component(**PLAIN)
def read_remote(data: dsl.Input[dsl.Dataset]) -> List[str]:
    return [data.uri, *(open(f"{data.path}/{name}").read() for name in ("a.txt", "b.txt"))]


@dsl.container_component
def cat_remote(data: dsl.Input[dsl.Dataset], out: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image="alpine", command=["sh", "-ec", 'cat "$0" > "$1"', data.path, out])


@pipeline
def remote(folder: str, file: str):
    one = dsl.importer(artifact_uri=folder, artifact_class=dsl.Dataset, reimport=False)
    read_remote(data=one.output)
    other = dsl.importer(artifact_uri=file, artifact_class=dsl.Dataset, reimport=True)
    cat_remote(data=other.output)


@dsl.component(**PLAIN)
def say_back(text: str) -> str:
    return text


@pipeline
def part_of_a_text(folder: str) -> str:
    return say_back(text=f"{folder}x").output
