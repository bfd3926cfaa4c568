"""Pipelines whose steps run in containers; the image OTHER stands for one that the tests make."""

# As KFP's users write components.
# ruff: noqa: C408, PTH103, PTH111, PTH123, PTH211, SIM115

from kfp import dsl, kubernetes

OTHER = "trainwright-test-other"
BASE = "trainwright-test-base"
LIGHT = dict(install_kfp_package=False)


@dsl.component(base_image=OTHER, **LIGHT)
def introduce(text: str, file: str, out: dsl.Output[dsl.Dataset]) -> str:
    """Say which Python this is, and leave files behind."""
    import os
    import sys

    os.makedirs(out.path)
    with open(f"{out.path}/said.txt", "w") as said:
        said.write(f"{text} {open(file).read()}")
    out.metadata["version"] = sys.version.split()[0]
    with open(os.path.expanduser("~/home.txt"), "w") as own, open("here.txt", "w") as here:
        own.write("home")
        here.write("here")
    try:
        open(file, "a")
    except OSError as error:
        print("cannot be written:", error.strerror)
    sys.stdout.buffer.write(b"caf\xe9 \x00 bytes\n")
    print("variables:", sorted(os.environ))
    return sys.version.split()[0]


@dsl.component(base_image="python:3.11", **LIGHT)
def pass_on(data: dsl.Input[dsl.Dataset], out: dsl.Output[dsl.Dataset]) -> str:
    import sys

    with open(f"{data.path}/said.txt") as said, open(out.path, "w") as copy:
        copy.write(said.read().upper())
    return sys.version.split()[0]


@dsl.container_component
def shout(data: dsl.Input[dsl.Dataset], said: dsl.OutputPath(str)):
    return dsl.ContainerSpec(
        image=BASE, command=["sh", "-ec", 'printf "%s!" "$(cat "$0")" > "$1"'], args=[data.path, said]
    )


@dsl.pipeline(name="handed-on")
def handed_on(text: str, file: str) -> str:
    first = introduce(text=text, file=file).set_env_variable("COLOUR", "red")
    second = pass_on(data=first.outputs["out"])
    return shout(data=second.outputs["out"]).outputs["said"]


@dsl.container_component
def greedy():
    return dsl.ContainerSpec(image=BASE, command=["python3", "-c", "x = bytearray(200 << 20); print(len(x))"])


@dsl.pipeline(name="hungry")
def hungry():
    greedy().set_memory_limit("64Mi").set_cpu_limit("1")


@dsl.container_component
def waits(fifo: str, go: str, out: dsl.OutputPath(str)):
    """Say that it runs, wait for the FIFO's other side, and save when it is asked to end."""
    return dsl.ContainerSpec(
        image=BASE,
        command=["python3", "-c"],
        args=[
            "import pathlib, signal, sys\n"
            "fifo, go, out = sys.argv[1:]\n"
            "pathlib.Path(out).parent.mkdir(parents=True, exist_ok=True)\n"
            "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(out).write_text('saved'), sys.exit(0)))\n"
            "open(fifo, 'w').close()\n"
            "pathlib.Path(out).write_text(open(go).read() + 'done')\n",
            fifo,
            go,
            out,
        ],
    )


@dsl.pipeline(name="waiting")
def waiting(fifo: str, go: str) -> str:
    return waits(fifo=fifo, go=go).outputs["out"]


@dsl.component(base_image=OTHER, **LIGHT)
def train(fifo: str, go: str) -> str:
    """As a training that is evicted: it saves when it is asked to end."""
    import signal
    import sys

    def save(*_):
        print("saved", flush=True)
        sys.exit(0)

    signal.signal(signal.SIGTERM, save)
    open(fifo, "w").close()
    return open(go).read()


@dsl.pipeline(name="evicted")
def evicted(fifo: str, go: str):
    train(fifo=fifo, go=go)


@dsl.container_component
def absent_program():
    return dsl.ContainerSpec(image=BASE, command=["no-such-program"])


@dsl.container_component
def absent_image():
    return dsl.ContainerSpec(image="trainwright-test-absent:1", command=["true"])


@dsl.container_component
def fails():
    return dsl.ContainerSpec(image=BASE, command=["sh", "-c", "echo about to fail; exit 3"])


@dsl.component(base_image=BASE, **LIGHT)
def without_kfp() -> str:
    return "never"


@dsl.container_component
def entry_point(text: str):
    """What the image starts by itself: a shell that reads from nobody."""
    return dsl.ContainerSpec(image=BASE)


@dsl.pipeline(name="endings")
def endings():
    for component in (absent_program, absent_image, fails, without_kfp):
        component()
    entry_point(text="x")


@dsl.container_component
def use_volumes(said: dsl.OutputPath(str)):
    return dsl.ContainerSpec(
        image=BASE,
        command=["sh", "-ec"],
        args=[
            'touch /scratch/x; echo more >> /claim/log; if touch /keys/x 2>/dev/null; then exit 9; fi; echo "$TOKEN"; '
            '[ "$DOCKER_PASSWORD" = "$TOKEN" ]; '
            'printf "%s %s %s" "$(cat /keys/token)" "$(wc -l < /claim/log)" "$TOKEN" > "$0"',
            said,
        ],
    )


@dsl.pipeline(name="volumes")
def volumes() -> str:
    task = use_volumes()
    kubernetes.mount_pvc(task, pvc_name="shared", mount_path="/claim")
    kubernetes.empty_dir_mount(task, volume_name="scratch", mount_path="/scratch")
    kubernetes.use_secret_as_volume(task, secret_name="login", mount_path="/keys")
    kubernetes.use_secret_as_env(task, secret_name="login", secret_key_to_env={"token": "TOKEN"})
    kubernetes.use_secret_as_env(task, secret_name="login", secret_key_to_env={"token": "DOCKER_PASSWORD"})
    return task.outputs["said"]


@dsl.component(base_image=OTHER, **LIGHT)
def keep_inside(named: dsl.Output[dsl.Model], linked: dsl.Output[dsl.Model]):
    """As a script that writes to folders of its image, or of its own."""
    import os

    os.makedirs("/var/tmp/made/deep")
    with open("/var/tmp/made/deep/w", "w") as weights:
        weights.write("weights")
    named.set_path("/var/tmp/made")
    os.symlink("/var/tmp/made/deep/w", linked.path)


@dsl.container_component
def read_both(named: dsl.Input[dsl.Model], linked: dsl.Input[dsl.Model], said: dsl.OutputPath(str)):
    return dsl.ContainerSpec(
        image=BASE,
        command=["sh", "-ec", 'cat "$0/deep/w" "$1" > "$2"'],
        args=[named.path, linked.path, said],
    )


@dsl.pipeline(name="kept-inside")
def kept_inside() -> str:
    made = keep_inside()
    return read_both(named=made.outputs["named"], linked=made.outputs["linked"]).outputs["said"]
