"""Packages that components ask for, and volumes that steps want mounted."""

import zipfile
from pathlib import Path

import pytest
from kfp import dsl
from tests.wheels import make_wheel

from trainwright_pipelines.engine.requirements import is_satisfied, local_place, wanted_packages
from trainwright_pipelines.engine.resolve import select_part
from trainwright_pipelines.engine.volumes import Volumes, change_claim, mounted_values, place_values, replace_mounts

SCRIPT = """
if ! [ -x "$(command -v pip)" ]; then
    python3 -m ensurepip || python3 -m ensurepip --user || apt-get install python3-pip
fi

PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip install --quiet --no-warn-script-location --index-url https://a/simple \
--trusted-host https://a/simple 'numpy>=1' 'other[x]==2'  &&  python3 -m pip install --quiet \
--no-warn-script-location 'kfp==2.17.0' '--no-deps' 'typing-extensions>=3.7.4,<5; python_version<"3.9"' && "$0" "$@"
"""


def container(*requirements: str) -> dict[str, list[str]]:
    packages = " ".join(f"'{each}'" for each in requirements)
    return {
        "command": [
            "sh",
            "-c",
            f"python3 -m pip install {packages} && $0",
            "sh",
            "-ec",
            "kfp.dsl.executor_main",
            "source",
        ]
    }


def test_what_a_component_asks_for_is_read_from_its_command() -> None:
    wanted = wanted_packages(
        {"command": ["sh", "-c", SCRIPT, "sh", "-ec", "python3 -m kfp.dsl.executor_main", "source"]}
    )
    assert wanted.requirements == ("numpy>=1", "other[x]==2")
    assert wanted.options == ("--index-url=https://a/simple", "--trusted-host=https://a/simple")


def test_kfp_itself_is_not_installed_but_what_is_named_alike_is() -> None:
    asked = [
        "kfp==2.1",
        "kfp",
        "git+https://github.com/kubeflow/pipelines.git#subdirectory=sdk/python",
        "kfp-kubernetes",
    ]
    assert wanted_packages(container(*asked)).requirements == ("kfp-kubernetes",)


@pytest.mark.parametrize(
    ("requirement", "answer"),
    [
        ("numpy", True),
        ("numpy>=1", True),
        ("numpy<1", False),
        ("no-such-package-anywhere", False),
        ('no-such-package-anywhere; python_version<"3"', True),
        ("git+https://example.com/x.git", False),
        ("numpy @ https://example.com/numpy.whl", False),
    ],
)
def test_requirements_are_held_against_this_environment(requirement: str, answer: bool) -> None:
    assert is_satisfied(requirement) is answer


@pytest.mark.parametrize(
    ("line", "requirements", "options"),
    [
        ("'-r' 'needs.txt' 'x'", ("--requirement=needs.txt", "x"), ()),
        ("-e ./pkg", ("--editable=./pkg",), ()),
        ("'x' '--index-url' 'https://a' --pre -f w", ("x",), ("--index-url=https://a", "--pre", "--find-links=w")),
        ("'x[a, b]>=1, <2; python_version > \"3\"'", ('x[a, b]>=1, <2; python_version > "3"',), ()),
        ("x --target /somewhere --prefix=/there --user", ("x",), ()),
        ("'x' || python3 -m pip install 'x' --user", ("x",), ()),
        ("'kfp==2.9' 'x'", ("x",), ()),
        ("'kfp==2.9' '--no-deps'", (), ()),
    ],
)
def test_each_form_of_a_pip_line_is_read(line: str, requirements: tuple[str, ...], options: tuple[str, ...]) -> None:
    part = f'PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip install --quiet {line} && "$0" "$@"'
    wanted = wanted_packages({"command": ["sh", "-c", part, "sh", "-ec", "python3 -m kfp.dsl.executor_main", "source"]})
    assert (wanted.requirements, wanted.options) == (requirements, options)


@pytest.mark.parametrize("use_venv", [False, True])
def test_what_the_compiler_of_this_release_writes_is_read(use_venv: bool) -> None:
    @dsl.component(
        base_image="python:3.11",
        packages_to_install=["x==1", "y[z]"],
        pip_index_urls=["https://a/simple", "https://b/simple"],
        pip_trusted_hosts=["a"],
        use_venv=use_venv,
    )
    def step() -> None:
        pass

    written = step.component_spec.implementation.container
    wanted = wanted_packages({"command": [*written.command]})
    assert wanted.requirements == ("x==1", "y[z]")
    assert wanted.options == (
        "--index-url=https://a/simple",
        "--extra-index-url=https://b/simple",
        "--trusted-host=a",
    )


@pytest.mark.parametrize(
    ("requirement", "is_here"),
    [
        ("{here}", True),
        ("{here}[a, b]", True),
        ("file://{here}", True),
        ("file://localhost{here}#sha256=0", True),
        ("x @ file://{here}", True),
        ("x[a] @ file://{here} ; python_version > '3'", True),
        ("--editable={here}[a]", True),
        ("--requirement={here}", True),
        ("{here}.none", False),
        ("git+file://{here}", False),
        ("https://example.com{here}", False),
        ("numpy", False),
        ("numpy[a]==1", False),
    ],
)
def test_requirements_that_lie_on_this_machine_are_found(tmp_path: Path, requirement: str, is_here: bool) -> None:
    here = tmp_path / "x-1.0-py3-none-any.whl"
    here.touch()
    assert local_place(requirement.format(here=here)) == (here if is_here else None)


def test_the_name_of_a_file_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x-1.0-py3-none-any.whl").touch()
    assert local_place("x-1.0-py3-none-any.whl") == Path("x-1.0-py3-none-any.whl")


def test_what_extras_ask_for_must_be_here_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = [
        make_wheel(tmp_path, "bare", "1.0", extras={"all": "bare[some]", "some": "absent", "none": "numpy"}),
        make_wheel(tmp_path, "round_about", "1.0", extras={"a": "round-about[b]", "b": "Round.About[a]"}),
    ]
    for wheel in wheels:
        zipfile.ZipFile(wheel).extractall(tmp_path / "here")
    monkeypatch.syspath_prepend(tmp_path / "here")
    answers = {"bare": True, "bare[none]": True, "bare[some]": False, "bare[all]": False, "Round-About[A]": True}
    assert {asked: is_satisfied(asked) for asked in answers} == answers
    assert is_satisfied('bare[some]; python_version < "3"')


def test_mount_paths_are_replaced_where_they_are_paths() -> None:
    folders = {"/data": Path("/home/v/1"), "/data/deep": Path("/home/v/2")}
    text = "open('/data/x') /data /data/deep/y /database a/data /data.txt"
    assert replace_mounts(text, folders) == "open('/home/v/1/x') /home/v/1 /home/v/2/y /database a/data /data.txt"


MOUNTS = {"/mnt/x": Path("/v/a"), "/mnt/x/deep/": Path("/v/b"), "/data": Path("/data/home/c"), "/": Path("/v/root")}


@pytest.mark.parametrize(
    ("given", "placed"),
    [
        ("/mnt/x", "/v/a"),
        ("/mnt/x/", "/v/a/"),
        ("/mnt/x/f", "/v/a/f"),
        ("/mnt/x/my file//f/", "/v/a/my file//f/"),
        ("/mnt/x/../x/f", "/v/a/f"),
        ("/mnt/./x//f", "/v/a/f"),
        ("//mnt/x/g/../", "/v/a/"),
        ("/mnt/x/deep/f", "/v/b/f"),
        ("/mnt/x/deeper/f", "/v/a/deeper/f"),
        ("/mnt/x/deep/../f", "/v/a/f"),
        ("file:///mnt/x/f", "file:///v/a/f"),
        ("/data/home", "/data/home/c/home"),
        ("/mnt/x,/data", "/v/a,/data/home/c"),
        ("/mnt/x/a:/mnt/x/deep/b:/mnt/x2", "/v/a/a:/v/b/b:/mnt/x2"),
        ("file:///mnt/x/a, file:///mnt/x/./b;/mnt/x/../x/c", "file:///v/a/a, file:///v/a/./b;/v/a/c"),
        ("/mnt/x/*.csv", "/v/a/*.csv"),
        ('{"a": ["/mnt/x", \'/data/f\'], "b": 1}', '{"a": ["/v/a", \'/data/home/c/f\'], "b": 1}'),
        ("--data=/mnt/x/f", "--data=/v/a/f"),
        ("read /mnt/x", "read /v/a"),
        (["/mnt/x", {"/data/f": {"a": "/mnt/x/f"}}, 1], ["/v/a", {"/data/home/c/f": {"a": "/v/a/f"}}, 1]),
    ],
)
def test_parameters_below_a_mount_path_mean_what_is_mounted(given: object, placed: object) -> None:
    assert place_values(given, MOUNTS) == placed


@pytest.mark.parametrize(
    "given",
    [
        "/mnt/x2",
        "/mnt",
        "/mnt/x/..",
        "/mnt/x/../y",
        "/mnt/x.txt",
        "mnt/x",
        "/mnt/x@2",
        "/mnt/x%20",
        "~/mnt/x",
        "$HOME/mnt/x",
        "${HOME}/mnt/x",
        "/other/mnt/x",
        "/mnt/x2,/mnt/x-old:/mnt",
        "/mnt/x/../y,/mnt/x2",
        '{"a": "/mnt/x2"}',
        "s3://mnt/x",
        "/",
        "",
        None,
        True,
    ],
)
def test_parameters_elsewhere_stay_as_they_are(given: object) -> None:
    assert place_values(given, MOUNTS) == given


@pytest.mark.parametrize(
    "given",
    ["/mnt/x", "/mnt/x/f/", "/mnt/x/deep", "file:///mnt/x/f", "/mnt/x,/data/f", '{"a": "/mnt/x"}', ["/data", {"a": 1}]],
)
def test_what_a_step_gives_back_names_the_mount_paths_again(given: object) -> None:
    assert mounted_values(place_values(given, MOUNTS), MOUNTS) == given


def test_a_path_that_a_step_has_made_absolute_is_that_of_the_mount_too(tmp_path: Path) -> None:
    (tmp_path / "real" / "claim").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    mounts = {"/mnt/x": tmp_path / "link" / "claim"}
    given = [f"{tmp_path}/real/claim/f", f"{tmp_path}/link/claim", f"{tmp_path}/real/claims"]
    assert mounted_values(given, mounts) == ["/mnt/x/f", "/mnt/x", given[2]]


def test_commands_take_mount_paths_from_texts_once() -> None:
    text = "cp /data/f http://a//b /mnt/x:/mnt/x2 --to=/mnt/x/deep/../f"
    assert replace_mounts(text, MOUNTS) == "cp /data/home/c/f http://a//b /v/a:/mnt/x2 --to=/v/b/../f"
    assert place_values({"a": text}, {"/data": Path("/v/c")}) == {"a": text.replace("/data", "/v/c")}
    assert replace_mounts("/mnt/x/../x/f", MOUNTS) == "/v/a/f"


def test_claims_are_made_and_deleted(tmp_path: Path) -> None:
    name = change_claim("argostub/createpvc", {"pvc_name_suffix": "-data"}, lasting=tmp_path, run="r")
    assert name == "r-data"
    assert (tmp_path / "r-data").is_dir()
    assert Volumes(lasting={"/d": name}).make(tmp_path, tmp_path)["/d"] == tmp_path / "r-data"
    change_claim("argostub/deletepvc", {"pvc_name": "r-data"}, lasting=tmp_path, run="r")
    assert list(tmp_path.iterdir()) == []
    assert change_claim("alpine", {}, lasting=tmp_path, run="r") is None


def test_parts_of_values_are_selected() -> None:
    assert select_part('parseJson(string_value)["a"]', '{"a": 1}') == 1
    assert select_part('parseJson(string_value)["a"]', {"a": [2]}) == [2]
    assert select_part("list_value[1]", [1, 2]) == 2
    assert select_part("struct_value.a", {"a": "x"}) == "x"
