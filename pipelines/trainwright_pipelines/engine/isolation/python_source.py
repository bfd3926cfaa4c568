"""How a container spec says that it runs a Python function."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_EXECUTOR_MODULE = re.compile(r"\bkfp\.[\w.]*executor_main\b")  # its package has moved over the years
_FUNCTION_FLAG = "--function_to_execute"

# The two scripts that KFP's compiler puts before a Python component, in full (kfp 2.17.0, dsl/component_factory.py)
_WORD = r"""(?:'[^'\n]*'|"[^"\n]*"|[^\s;&|'"]+)"""
_INSTALLS_PACKAGES = re.compile(
    rf"""(?P<install>
\s*if ! \[ -x "\$\(command -v pip\)" \]; then
 +python3 -m ensurepip \|\| python3 -m ensurepip --user \|\| apt-get install python3-pip
fi\s+PIP_DISABLE_PIP_VERSION_CHECK=1 (?:\s*export PIP_DISABLE_PIP_VERSION_CHECK=1
tmp=\$\(mktemp -d\)
python3 -m venv "\$tmp/venv" --system-site-packages
\. "\$tmp/venv/bin/activate"\s+| *&& +| *python3 -m pip install(?: +{_WORD})* +)+&& )"\$0" "\$@"\s*"""
)
_RUNS_EXECUTOR = re.compile(
    r'(?P<write>\s*program_path=\$\(mktemp -d\)\s+printf "%s" "\$0" > "\$program_path/ephemeral_component\.py"\s+)'
    r"_KFP_RUNTIME=true (?P<run>python3 -m kfp\.[\w.]*executor_main +--component_module_path +"
    r'"\$program_path/ephemeral_component\.py" +"\$@")\s*'
)


@dataclass(frozen=True, kw_only=True)
class PythonSource:
    """A lightweight component: the code of its function, and the function's name."""

    source: str
    function: str


def python_source(container: Mapping[str, Any]) -> PythonSource | None:
    """The function of a lightweight Python component; None for any other container."""
    command, args = container.get("command") or [], container.get("args") or []
    if _FUNCTION_FLAG not in args[:-1] or len(command) < 2 or not _EXECUTOR_MODULE.search(str(command[-2])):
        return None
    return PythonSource(source=command[-1], function=args[args.index(_FUNCTION_FLAG) + 1])


def is_python(container: Mapping[str, Any]) -> bool:
    """Whether a container runs a Python component, lightweight or with its code in the image."""
    return any(_EXECUTOR_MODULE.search(str(part)) for part in container.get("command") or [])


def serves_here(source: str) -> bool:
    """Whether the code of a lightweight component starts a server that must outlive its step: our deploy-serving."""
    return "trainwright_components.deploy_serving" in source and "deploy_model" in source


def without_shells(command: list[str]) -> list[str]:
    """`command` unless a shell in it has text that is not KFP's own, such as a trap that must outlive its program."""
    *install, _, _, script, source = command
    if not (found := _RUNS_EXECUTOR.fullmatch(script)) or command[-4:-2] != ["sh", "-ec"]:
        return command
    run = ["sh", "-ec", f"{found['write']}export _KFP_RUNTIME=true\nexec {found['run']}\n", source]
    if not install:
        return run
    if install[:-1] == ["sh", "-c"] and (found := _INSTALLS_PACKAGES.fullmatch(install[-1])):
        return ["sh", "-c", f'{found["install"]}exec "$0" "$@"\n', *run]
    return command
