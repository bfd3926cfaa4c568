"""A pipeline whose steps do to their environment what they can. Called with a folder of wheels and a file to write."""

import sys

from kfp import compiler, dsl

WHEELS = sys.argv[1]
PIP = ["--no-index", "--find-links", WHEELS]
PLAIN = {"base_image": "python:3.11", "install_kfp_package": False}


@dsl.component(**PLAIN)
def from_inside(pip: list) -> str:
    import importlib
    import subprocess
    import sys

    def run(*arguments: str) -> None:
        subprocess.run([sys.executable, "-m", *arguments], check=True)

    run("pip", "install", "--upgrade", "victim", "fresh", *pip)
    fresh = importlib.import_module("fresh")
    run("pip", "uninstall", "-y", "victim", "numpy")
    run("ensurepip", "--upgrade")
    run("pip", "install", "--prefix", sys.prefix, "--ignore-installed", "victim", *pip)
    return f"{fresh.VERSION} {importlib.import_module('victim').VERSION}"


@dsl.component(**PLAIN)
def in_its_own_process(pip: list) -> str:
    import importlib
    import sysconfig

    from pip._internal.cli.main import main

    assert main(["install", "--upgrade", "victim", *pip]) == 0
    assert main(["uninstall", "-y", "numpy"]) == 0
    assert main(["install", "--user", "fresh", *pip]) == 0
    importlib.invalidate_caches()  # its folder was not there before
    importlib.import_module("fresh")
    return sysconfig.get_paths()["purelib"] + importlib.import_module("victim").VERSION


@dsl.component(base_image="python:3.11", packages_to_install=["needy", *PIP])
def asks() -> str:
    import subprocess
    import sys

    import needy  # type: ignore[import-not-found]  # made by the test
    import victim  # type: ignore[import-not-found]  # the same

    subprocess.run([sys.executable, "-m", "pip", "uninstall", "-y", "needy"], check=True)
    told = subprocess.run(["needy-program"], check=True, capture_output=True, text=True).stdout
    return f"{needy.VERSION} {victim.VERSION} {told}"


@dsl.container_component
def from_a_shell(out: dsl.OutputPath(str)):
    pip = " ".join(PIP)
    lines = [
        f"python3 -m pip install -q --upgrade victim fresh {pip}",
        "fresh-program && victim-program",
        "pip uninstall -y victim && pip3 uninstall -y numpy",
        "python -m ensurepip --upgrade",
        f"pip uninstall -y fresh && pip install --user fresh {pip} && fresh-program",
        f"$(python3 -c 'import sys; print(sys._base_executable)') -m pip install fresh {pip} || test $? = 3",
        'mkdir -p "$(dirname "$0")" && victim-program > "$0"',
    ]
    return dsl.ContainerSpec(image="python:3.9", command=["sh", "-exc", "\n".join(lines), out])


@dsl.pipeline
def harmful():
    from_inside(pip=PIP)
    in_its_own_process(pip=PIP)
    asks()
    from_a_shell()


if __name__ == "__main__":
    compiler.Compiler().compile(harmful, sys.argv[2])
