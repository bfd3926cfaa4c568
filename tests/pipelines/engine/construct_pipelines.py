"""Tiny pipelines for single constructs of the IR, compiled with those of `tiny_pipelines`."""

# As KFP's users write components: bare open, functional NamedTuples, defaults that KFP copies.
# ruff: noqa: PTH123, SIM115

from kfp import dsl
from tests.pipelines.engine.authoring import PLAIN, pipeline


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
def retried_slowly(log: str) -> int:
    return third_time(log=log, text="b").set_retry(2, backoff_duration="3600s").output
