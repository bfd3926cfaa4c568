"""A pipeline to run in tests: pure Python, quick, able to fail and to wait."""

from typing import NamedTuple

from kfp import dsl

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def add(a: float, b: float = 1.0) -> float:
    """Add two numbers."""
    print("adding", a, "and", b)
    return a + b


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def refuse(a: float) -> float:
    """Fail."""
    raise ValueError(f"no way to take {a}")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def wait(a: float, folder: str) -> float:
    """Say that it has begun, then wait until the folder holds a file called go."""
    import time
    from pathlib import Path

    (Path(folder) / "begun").touch()
    while not (Path(folder) / "go").exists():
        time.sleep(0.02)
    return a


@dsl.pipeline(name="sums")
def sums(x: float, times: int = 3, options: dict = {"a": 1}, fail: bool = False):  # noqa: B006, KFP reads the literal
    """Add things.

    Args:
        x: Where to start.
        times: Not used.
        options: Not used either.
        fail: Whether the last step fails.
    """
    first = add(a=x)
    second = add(a=first.output, b=2.0)
    with dsl.If(fail == True):  # noqa: E712, KFP overloads the comparison
        refuse(a=second.output)


@dsl.pipeline(name="waiting")
def waiting(folder: str, x: float = 1.0):
    """Wait for a file."""
    add(a=wait(a=x, folder=folder).output)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def weigh(rows: int, table: dsl.Output[dsl.Dataset]) -> float:
    """Give a number that JSON has not, and a file."""
    with open(table.path, "w") as file:  # noqa: PTH123
        file.write("row" * rows)
    return float("nan")


@dsl.pipeline(name="returning")
def returning(rows: int = 2) -> NamedTuple("Outputs", [("sum", float), ("table", dsl.Dataset), ("sums", list)]):
    """Return what steps made, some of them in a loop."""
    with dsl.ParallelFor([1.0, 2.0]) as item:
        one = add(a=item, b=2.0)
    made = weigh(rows=rows)
    outputs = NamedTuple("Outputs", [("sum", float), ("table", dsl.Dataset), ("sums", list)])  # noqa: UP014, as in KFP's docs
    return outputs(made.outputs["Output"], made.outputs["table"], dsl.Collected(one.output))


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def complain(units: int):
    """Warn, then refuse a setting."""
    import logging

    from trainwright_components.errors import InvalidSetting

    logging.getLogger("mine").warning("few units")
    raise InvalidSetting(f"units must be at least 1, got {units}")


@dsl.pipeline(name="complaining")
def complaining(units: int = 0):
    """A step that only another setting can mend."""
    complain(units=units)
