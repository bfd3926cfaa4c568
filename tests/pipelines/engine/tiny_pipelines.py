"""Tiny pipelines that the engine's tests run, compiled once a session in a process of its own.

Called as `python -m tests.pipelines.engine.tiny_pipelines FOLDER`, it writes FOLDER/<pipeline's function>.yaml.
"""

# As KFP's users write components: bare open, functional NamedTuples, defaults that KFP copies.
# ruff: noqa: B006, C408, PT018, PTH103, PTH110, PTH123, RET503, UP006, UP014, UP035, UP045

import functools
import sys
from pathlib import Path
from typing import List, NamedTuple, Optional

from kfp import compiler, dsl
from tests.pipelines.engine import construct_pipelines
from tests.pipelines.engine.authoring import OURS, PIPELINES, PLAIN, pipeline

from trainwright_components.reuse import CONTINUED


@dsl.component(**PLAIN)
def add(a: int, b: int = 2) -> int:
    return a + b


@dsl.component(**PLAIN)
def say(text: str) -> str:
    return text


@dsl.component(**PLAIN)
def flip(heads: bool) -> str:
    return "heads" if heads else "tails"


@dsl.component(**PLAIN)
def write(text: str, out: dsl.Output[dsl.Dataset], times: int = 1):
    with open(out.path, "w") as file:
        file.write(text * times)
    out.metadata["length"] = len(text) * times


@dsl.component(**PLAIN)
def read(data: dsl.Input[dsl.Dataset]) -> str:
    with open(data.path) as file:
        return file.read()


@dsl.component(**PLAIN)
def join(data: dsl.Input[List[dsl.Dataset]]) -> str:
    return "".join(open(each.path).read() for each in data)


@dsl.component(**PLAIN)
def total(numbers: List[int]) -> int:
    assert all(type(number) is int for number in numbers), numbers
    return sum(numbers)


@dsl.component(**PLAIN)
def flatten(numbers: list) -> list:
    return [number for row in numbers for number in row]


@dsl.component(**PLAIN)
def numbers_up_to(n: int) -> List[int]:
    return list(range(n))


@dsl.component(**PLAIN)
def pairs() -> List[dict]:
    return [{"title": "x", "size": 1}, {"title": "y", "size": 2}]


@dsl.component(**PLAIN)
def fail(message: str = "broken") -> str:
    raise ValueError(message)


@dsl.component(**PLAIN)
def show_status(status: dsl.PipelineTaskFinalStatus) -> str:
    job = status.pipeline_job_resource_name
    return f"{status.state}|{status.pipeline_task_name}|{job}|{status.error_message}"


@dsl.component(**PLAIN)
def count_attempts(counter: str, needed: int) -> int:
    with open(counter, "a") as file:
        file.write("x")
    with open(counter) as file:
        tries = len(file.read())
    if tries < needed:
        raise RuntimeError(f"try {tries}")
    return tries


@dsl.component(**PLAIN)
def describe(
    number: int,
    ratio: float,
    flag: bool,
    items: list,
    table: dict,
    text: str = "none given",
    missing: Optional[str] = None,
) -> str:
    return repr((number, ratio, flag, items, table, text, missing))


@pipeline
def chain(n: int = 3) -> int:
    return add(a=add(a=n).output, b=10).output


@pipeline
def typed(
    number: int = 3,
    ratio: float = 2,
    flag: bool = True,
    items: list = [1, 2.5, "x", [3]],
    table: dict = {"a": 1, "b": [2]},
    missing: Optional[str] = None,
) -> str:
    return describe(number=number, ratio=ratio, flag=flag, items=items, table=table, missing=missing).output


@pipeline
def branches(heads: bool = True, number: int = 5) -> NamedTuple("Outputs", [("chosen", str), ("size", str)]):
    outputs = NamedTuple("Outputs", [("chosen", str), ("size", str)])
    side = flip(heads=heads)
    with dsl.If(side.output == "heads"):
        one = say(text="it is heads")
    with dsl.Else():
        two = say(text="it is tails")
    with dsl.If(number < 3):
        small = say(text="small")
    with dsl.Elif(number < 10):
        middle = say(text="middle")
    with dsl.Else():
        large = say(text="large")
    return outputs(dsl.OneOf(one.output, two.output), dsl.OneOf(small.output, middle.output, large.output))


@pipeline
def quoted(text: str = "x' or 'a' in 'a' or 'x") -> str:
    with dsl.If(text == "plain"):
        one = say(text="wrong")
    with dsl.Else():
        two = say(text="right")
    return dsl.OneOf(one.output, two.output)


@pipeline
def injected(text: str = "plain"):
    with dsl.If(text == "x' or 'a' in 'a' or 'x"):
        say(text="wrong")


@pipeline
def artifact_branches(heads: bool = True) -> str:
    with dsl.If(heads == True):  # noqa: E712  KFP records the comparison
        one = write(text="heads")
    with dsl.Else():
        two = write(text="tails")
    return read(data=dsl.OneOf(one.outputs["out"], two.outputs["out"])).output


@pipeline
def skipped_after(flag: bool = False):
    with dsl.If(flag == True):  # noqa: E712  KFP records the comparison
        first = say(text="inside")
        say(text=first.output)
    say(text="beside")


@pipeline
def loops(n: int = 3) -> NamedTuple("Outputs", [("sum", int), ("joined", str), ("nested", list), ("pairs", list)]):
    outputs = NamedTuple("Outputs", [("sum", int), ("joined", str), ("nested", list), ("pairs", list)])
    with dsl.ParallelFor([1, 2, 3], parallelism=1) as item:
        one = add(a=item, b=100)
        written = write(text="ab", times=item)
    with dsl.ParallelFor(numbers_up_to(n=n).output) as row, dsl.ParallelFor([10, 20]) as column:
        cell = add(a=row, b=column)
    with dsl.ParallelFor(pairs().output) as pair:
        named = describe(number=pair.size, ratio=1.5, flag=False, items=[1], table={}, text=pair.title)
    return outputs(
        total(numbers=dsl.Collected(one.output)).output,
        join(data=dsl.Collected(written.outputs["out"])).output,
        flatten(numbers=dsl.Collected(cell.output)).output,
        dsl.Collected(named.output),
    )


@pipeline
def texts_of_loops(text: str = "a") -> list:
    """The compiler hands on parts of items that the pipeline itself does not have, which nobody reads."""
    with dsl.ParallelFor([{"n": "1"}, {"n": "3"}]) as pair:
        with dsl.ParallelFor(["2"]) as item:
            say(text=f"{item}")
        one = say(text=f"{text}-{pair.n}-2")
    return dsl.Collected(one.output)


@pipeline
def texts_of_nested_loops():
    with dsl.ParallelFor(["x", "y"]) as one, dsl.ParallelFor(["1", "2"]) as other:
        say(text=f"{one}-{other}")


@pipeline
def inner(x: int, y: str = "q") -> NamedTuple("Outputs", [("number", int), ("data", dsl.Dataset)]):
    outputs = NamedTuple("Outputs", [("number", int), ("data", dsl.Dataset)])
    one = add(a=x)
    return outputs(one.output, write(text=y, times=one.output).outputs["out"])


@pipeline
def nested(x: int = 1) -> str:
    first = inner(x=x)
    second = inner(x=first.outputs["number"], y="z")
    return read(data=second.outputs["data"]).output


@pipeline
def said(text: str) -> str:
    return say(text=text).output


@pipeline
def rerunnable(text: str = "a") -> str:
    """The first step is told which run it is of, the others what came before."""
    first = say(text=f"{text} of {dsl.PIPELINE_JOB_ID_PLACEHOLDER}").set_display_name("first")
    middle = say(text=first.output).set_display_name("middle")
    say(text="beside")
    with dsl.If(middle.output != ""):
        last = say(text=middle.output)
        said(text=last.output)
    return first.output


@dsl.component(**PLAIN)
def report_and_fail(page: dsl.Output[dsl.HTML], data: dsl.Output[dsl.Dataset]):
    with open(page.path, "w") as file:
        file.write("<p>how far it came</p>")
    with open(data.path, "w") as file:
        file.write("half of it")
    raise ValueError("broken")


@pipeline
def reported_failure():
    read(data=report_and_fail().outputs["data"])


@pipeline
def exit_handler(message: str = "broken"):
    with dsl.ExitHandler(show_status()):
        say(text=fail(message=message).output)


@pipeline
def after_failure(message: str = "broken"):
    failed = fail(message=message)
    say(text="goes on").after(failed).ignore_upstream_failure()
    say(text="does not").after(failed)
    say(text="beside")


@dsl.component(**PLAIN)
def leak(fifo: str):
    """Tell a secret in all ways, also in halves."""
    import base64
    import logging
    import os
    import sys
    from urllib.parse import quote

    token = os.environ["TOKEN"]
    mounted = "/keys/token"
    with open(mounted) as file:
        assert file.read() == token
    for told in (token, quote(token), base64.b64encode(f"user:{token}".encode()).decode()):
        print("it is", told, "!")
    sys.stderr.write(f"and {token[:9]}")
    sys.stderr.flush()
    sys.stderr.write(token[9:])
    print("\nothers:", sorted(each for each in os.environ.items() if each[0].startswith("TRAINWRIGHT_SECRET")))
    logging.warning("never tell %s", token)
    print(".", end="", flush=True)
    if fifo:
        with open(fifo.replace("fifo", "mounted"), "w") as file:
            file.write(mounted)
        with open(fifo, "w") as file:
            file.write("here")
        open(fifo + ".go").close()
    raise ValueError(f"the server does not take {token}")


@pipeline
def leaking(fifo: str = ""):
    with dsl.ExitHandler(show_status()):
        leak(fifo=fifo)


@pipeline
def retried(counter: str, needed: int = 3):
    count_attempts(counter=counter, needed=needed).set_retry(2, "0s")


@dsl.component(**PLAIN)
def leave_things(flag: str, file: dsl.Output[dsl.Dataset], folder: dsl.Output[dsl.Model]) -> str:
    """Write where a first attempt had written too, which failed."""
    import os

    with open(file.path, "a") as out, open("here", "a") as here:
        out.write("row")
        here.write("row")
    os.makedirs(f"{folder.path}/part")
    if not os.path.exists(flag):
        open(flag, "w").close()
        raise RuntimeError("first try")
    return open(file.path).read() + open("here").read()


@pipeline
def left_behind(flag: str):
    leave_things(flag=flag).set_retry(1, "0s")
    leave_things(flag=f"{flag}-2")


@dsl.component(**PLAIN)
def quote_badly():
    import os

    os.write(1, b"a log with caf\xe9\n")
    raise ValueError("cannot read " + b"caf\xe9".decode(errors="surrogateescape") + " nor \ud800")


@dsl.component(**PLAIN)
def return_badly() -> List[dict]:
    return [{"of": b"caf\xe9".decode(errors="surrogateescape")}]


@dsl.component(**PLAIN)
def note_badly(out: dsl.Output[dsl.Dataset]):
    open(out.path, "w").close()
    out.metadata["of"] = b"caf\xe9".decode(errors="surrogateescape")


@dsl.component(**PLAIN)
def name_badly(out: dsl.Output[dsl.Dataset]) -> int:
    import os

    os.makedirs(out.path)
    with open(out.path.encode() + b"/caf\xe9", "wb") as file:
        return file.write(b"caf\xe9")


@dsl.container_component
def write_badly(out: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image="alpine", command=["sh", "-c", 'printf "caf\\351" > "$0"', out])


@dsl.container_component
def fail_badly():
    return dsl.ContainerSpec(image="alpine", command=["sh", "-c", 'printf "no caf\\351"; exit 3'])


@pipeline
def not_utf8():
    with dsl.ExitHandler(show_status()):
        quote_badly()
    return_badly()
    note_badly()
    name_badly()
    write_badly()
    fail_badly()


@dsl.component(**PLAIN)
def promise(out: dsl.Output[dsl.Dataset]) -> int:
    return 1


@dsl.component(**PLAIN)
def promise_number(wanted: bool) -> int:
    if wanted:
        return 1


@pipeline
def broken_promise():
    promise()
    promise_number(wanted=False)


@dsl.component(**PLAIN)
def measure(metrics: dsl.Output[dsl.Metrics]):
    metrics.log_metric("accuracy", 0.5)


@pipeline
def cached(text: str = "data", path: str = "/nowhere"):
    data = write(text=text)
    read(data=data.outputs["out"])
    measure()
    say(text=path)
    say(text="never").set_caching_options(False)


@dsl.component(**PLAIN)
def put(text: str) -> str:
    """Write into a claim, unless told nothing."""
    if text:
        with open("/data/file", "w") as file:
            file.write(text)
    return text


@dsl.component(**PLAIN)
def look() -> str:
    with open("/data/file") as file:
        return file.read()


@pipeline
def claim_written(text: str):
    put(text=text)


@pipeline
def claim_read():
    look()


@dsl.component(**PLAIN)
def write_below(folder: str, nested: dict, text: str) -> str:
    """Append to a file in a folder that comes in two ways."""
    with open(f"{folder}/f", "a") as file:
        file.write(text)
    with open(nested["in"][0] + "f") as file:
        return file.read()


@dsl.component(**PLAIN)
def look_below(folder: str) -> list:
    from pathlib import Path

    return [each if Path(each).is_dir() else "" for each in folder.split(",")]


@dsl.container_component
def cat(folder: str, out: dsl.OutputPath(str)):
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-ec", 'if [ -e "$0/f" ]; then cat "$0/f" > "$1"; else printf none > "$1"; fi'],
        args=[folder, out],
    )


@pipeline
def claims(folder: str, nested: dict, text: str):
    cat(folder=folder).after(write_below(folder=folder, nested=nested, text=text))


@pipeline
def claim_named(folder: str):
    told = say(text=folder)
    with dsl.If(told.output == "/mnt/x,/mnt/x/f"):
        look_below(folder=told.output)


@pipeline
def claim_of_all(folder: str):
    cat(folder=folder)


@pipeline
def imported(path: str, label: str = "mine") -> str:
    found = dsl.importer(artifact_uri=path, artifact_class=dsl.Dataset, metadata={"label": label, "long": f"{label}-x"})
    return read(data=found.output).output


@dsl.component(**PLAIN)
def read_mended(data: dsl.Input[dsl.Dataset], edit: str) -> str:
    """Read what is not broken, and edit it where it lies when told so."""
    with open(data.path) as file:
        text = file.read()
    if text == "broken":
        raise ValueError(text)
    if edit:
        with open(data.path, "w") as file:
            file.write(edit)
    return text


@pipeline
def edited(path: str, edit: str = "") -> str:
    found = dsl.importer(artifact_uri=path, artifact_class=dsl.Dataset)
    return read_mended(data=found.output, edit=edit).output


@dsl.component(**PLAIN)
def append(log: str, text: str) -> str:
    with open(log, "a") as file:
        file.write(text)
    return text


@dsl.component(**PLAIN)
def waits(fifo: str, done: str) -> str:
    """Say that it runs, and end when the FIFO's other side is closed, unless `done` is there."""
    import os

    if not os.path.exists(done):
        with open(fifo, "w") as file:
            file.write(f"{os.getpid()}")
        with open(fifo + ".go") as file:
            file.read()
    return "done"


@pipeline
def interrupted(log: str, fifo: str, done: str) -> str:
    first = append(log=log, text="a")
    second = waits(fifo=fifo, done=done).after(first)
    return append(log=log, text="b").after(second).output


@dsl.container_component
def shell(text: str, out: dsl.OutputPath(str), size: dsl.OutputPath(int), data: dsl.Output[dsl.Dataset]):
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-ec", 'printf %s "$0" > "$1"; printf 7 > "$2"; echo "$COLOUR" > "$3"; printf "%s|" "$@"'],
        args=[text, out, size, data.path],
    )


@dsl.container_component
def arguments(out: dsl.OutputPath(str), text: str, more: Optional[str] = None):
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-ec", 'o=$1; shift; printf "%s|" "$@" > "$o"', "sh"],
        args=[
            out,
            dsl.ConcatPlaceholder(["--text=", text, dsl.IfPresentPlaceholder("more", then="+", else_="-")]),
            dsl.IfPresentPlaceholder(input_name="more", then=["--more", more], else_=["--less"]),
        ],
    )


@dsl.container_component
def absent_program():
    return dsl.ContainerSpec(image="vendor/tool", command=["no-such-program-anywhere", "--flag"])


@dsl.container_component
def entry_point():
    return dsl.ContainerSpec(image="hello-world")


@dsl.container_component
def sleeper():
    return dsl.ContainerSpec(image="alpine", command=["sleep", "600"])


@pipeline
def containers(text: str = 'it\'s "quoted" $HOME'):
    shell(text=text).set_env_variable("COLOUR", "red-$(NAME)").set_env_variable("NAME", "x")
    arguments(text="a b")
    arguments(text="c", more="d")


@pipeline
def unrunnable():
    absent_program()
    entry_point()


@pipeline
def one_sleeper():
    sleeper()


@dsl.component(**PLAIN)
def show_place(
    job: str, job_id: str, task: str, task_id: str, root: str, created: str, scheduled: str, workspace: str
) -> dict:
    return dict(
        job=job,
        job_id=job_id,
        task=task,
        task_id=task_id,
        root=root,
        created=created,
        scheduled=scheduled,
        workspace=workspace,
    )


@functools.partial(pipeline, config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi")))
def placeholders(name: str = "me"):
    show_place(
        job=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        job_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        task=dsl.PIPELINE_TASK_NAME_PLACEHOLDER,
        task_id=dsl.PIPELINE_TASK_ID_PLACEHOLDER,
        root=dsl.PIPELINE_ROOT_PLACEHOLDER + "/x",
        created=dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER,
        scheduled=dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER,
        workspace=dsl.WORKSPACE_PATH_PLACEHOLDER,
    )
    say(text=f"{name} and {say(text=name).output}")


@dsl.component(**OURS)
def warm(text: str) -> str:
    import os
    import sys

    assert "tensorflow" in sys.modules and os.environ["PYTHONSAFEPATH"] == "1"
    return text


@dsl.component(**OURS)
def refuse(text: str):
    from trainwright_components.errors import InvalidData, UserCodeError

    if text == "user":
        raise UserCodeError("build_model raised KeyError: 'x'", user_traceback="File model.py, line 3\nKeyError: 'x'")
    raise InvalidData(f"the column {text!r} is missing")


def leave_work(model: dsl.Output[dsl.Model]) -> str:
    """Give what an earlier attempt left; the first leaves it and fails."""
    import os

    if os.path.exists(model.path):
        return open(f"{model.path}/checkpoint").read()
    os.makedirs(model.path)
    with open(f"{model.path}/checkpoint", "w") as file:
        file.write("step 8")
    raise RuntimeError("first try")


continue_work = dsl.component(leave_work, **OURS)
continue_work.component_spec.implementation.container.env = CONTINUED
begin_anew = dsl.component(leave_work, **OURS)


@pipeline
def ours():
    warm(text="a")
    refuse(text="colour")
    refuse(text="user")
    continue_work().set_retry(1, "0s")
    begin_anew().set_retry(1, "0s")
    construct_pipelines.maybe_write_ours()


@dsl.component(base_image="python:3.11", packages_to_install=["numpy>=1", "pip-that-is-no-package==99"])
def wants_packages() -> int:
    return 1


@pipeline
def packages():
    wants_packages()


@dsl.component(**PLAIN)
def return_token(file: dsl.Output[dsl.Dataset]) -> str:
    import os

    with open(file.path, "w") as written:
        written.write(os.environ["TOKEN"])
    return f"token {os.environ['TOKEN']}"


@pipeline
def returns_a_secret():
    return_token()


@dsl.component(**PLAIN)
def measure_shape() -> str:
    import shapes  # type: ignore[import-not-found]

    return shapes.NAME


@pipeline
def imports_a_package() -> str:
    return measure_shape().output


@dsl.component(**PLAIN)
def read_twice(dataset: dsl.Input[dsl.Dataset]) -> str:
    if dataset.metadata.get("length") != 4:
        raise ValueError(f"unexpected length {dataset.metadata['length']}")
    return open(dataset.path).read()


@dsl.component(**PLAIN)
def find_better(place: str, mine: int) -> NamedTuple("Outputs", [("is_better", bool), ("seen", int)]):
    """Compare a number with the one in a file; bars in its path keep its content out of the cache's key."""
    with open(place.replace("|", "/")) as file:
        seen = int(file.read())
    return (mine > seen, seen)


@pipeline
def judge(place: str, mine: int) -> NamedTuple("Outputs", [("is_better", bool), ("seen", int)]):
    outputs = NamedTuple("Outputs", [("is_better", bool), ("seen", int)])
    found = find_better(place=place, mine=mine)
    return outputs(found.outputs["is_better"], found.outputs["seen"])


@dsl.component(**PLAIN)
def put_number(place: str, number: int):
    with open(place.replace("|", "/"), "w") as file:
        file.write(str(number))


@dsl.component(**PLAIN)
def replace(place: str, mine: int, seen: int) -> int:
    """Put a number where another one was seen, unless something else came between."""
    from trainwright_components.errors import ComparisonOutdated

    with open(place.replace("|", "/")) as file:
        now = int(file.read())
    if now != seen:
        raise ComparisonOutdated(f"{now} came after {seen}", stale_input="seen")
    with open(place.replace("|", "/"), "w") as file:
        file.write(str(mine))
    return mine


@pipeline
def raced(place: str, mine: int, theirs: int):
    verdict = judge(place=place, mine=mine)
    other = put_number(place=place, number=theirs).after(verdict)
    with dsl.If(verdict.outputs["is_better"] == True):  # noqa: E712  KFP records the comparison
        beside = say(text="better").after(other)
        with dsl.If(mine > 0):
            replace(place=place, mine=mine, seen=verdict.outputs["seen"]).after(beside)


@dsl.component(**OURS)
def hand_over(text: str, out: dsl.Output[dsl.Dataset]) -> int:
    with open(out.path, "w") as file:
        file.write(text)
    return len(text)


@dsl.component(**OURS)
def take(data: dsl.Input[dsl.Dataset], length: int) -> str:
    with open(data.path) as file:
        text = file.read()
    assert len(text) == length, text
    return text


@pipeline
def handed_on(text: str = "data!") -> str:
    first = hand_over(text=text)
    return take(data=first.outputs["out"], length=first.outputs["Output"]).output


@dsl.component(**PLAIN)
def leave_mark(name: str, text: str, out: dsl.Output[dsl.Dataset]) -> str:
    import os

    with open(out.path, "w") as file:
        file.write(text * 10)
    with open(os.environ["MARKS"], "a") as marks:
        marks.write(f"{name}\n")
    return text.upper()


@dsl.component(**PLAIN)
def fail_at_first(name: str) -> str:
    import os

    with open(os.environ["MARKS"], "a+") as marks:
        marks.write(f"{name}\n")
        marks.seek(0)
        if marks.read().split().count(name) < 2:
            raise RuntimeError("not yet")
    return name


@pipeline
def remembered() -> str:
    return leave_mark(name="remembered", text="known").outputs["Output"]


@pipeline
def killed(items: list = ["a", "b"]):
    with dsl.ExitHandler(leave_mark(name="exit", text="bye").set_display_name("exit")):
        leave_mark(name="remembered", text="known").set_display_name("remembered")
        tried = fail_at_first(name="tried").set_retry(2, "0s")
        with dsl.ParallelFor(items) as item:
            each = leave_mark(name=item, text=item)
        joined = join(data=dsl.Collected(each.outputs["out"]))
        with dsl.If(tried.output == "tried"):
            leave_mark(name="taken", text=joined.output)
        with dsl.If(tried.output == "never"):
            leave_mark(name="not-taken", text="no")


@pipeline
def replayed(text: str = "data!"):
    read_twice(dataset=write(text=text).outputs["out"])


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name, made in PIPELINES:
        compiler.Compiler().compile(made, str(folder / f"{name}.yaml"))
