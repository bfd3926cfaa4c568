"""The page of a run: complete, self-contained, and safe whatever the texts in it."""

import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from trainwright_pipelines.engine.records import Artifact, Run, State, Task, Values
from trainwright_pipelines.service.pages.run_page import render_run_page
from trainwright_pipelines.views.wording import plain_value

HOSTILE = "</pre><script>alert('x')</script>"


class _Page(HTMLParser):
    """Elements and their attributes, and scripts' texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in_script = tag == "script"

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts.append(data)
            self._in_script = False

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def page(run: Run, tasks: list[Task], spec_text: str) -> str:
    return render_run_page(run, tasks, spec_text)


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    parsed = _Page(page)
    for tag in ("link", "img", "object", "embed", "base"):
        assert not parsed.all(tag)
    assert all("src" not in attributes for _, attributes in parsed.elements)
    assert not re.search(r"url\((?!#)", page)
    assert "default-src 'none'" in page


def test_hostile_texts_stay_texts(page: str) -> None:
    parsed = _Page(page)
    assert len(parsed.scripts) == 1
    assert "alert" not in parsed.scripts[0]
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;alert") >= 8


def test_reports_are_in_sandboxed_frames(page: str) -> None:
    frames = _Page(page).all("iframe")
    assert [frame["sandbox"] for frame in frames] == ["allow-scripts", "allow-scripts"]
    statistics, card = (frame["srcdoc"] or "" for frame in frames)
    assert "<p id='inside'>statistics</p>" in statistics
    assert "<h1>Card</h1>" in card
    assert "<table>" in card
    assert "&lt;script&gt;alert" in card
    assert "<script>alert" not in card


def test_frames_tell_their_height_and_those_that_can_turn_dark_with_the_page(page: str) -> None:
    frames = _Page(page).all("iframe")
    assert all("reportHeight" in (frame["srcdoc"] or "") for frame in frames)
    assert [frame.get("class") for frame in frames] == [None, "adapts"]


def test_what_failed_is_on_top_with_a_link_to_the_step(page: str) -> None:
    top = page.partition('<section id="graph">')[0]
    assert top.count('<section class="failure">') == 1
    assert '<a href="#step-evaluate">evaluate</a> failed:' in top
    assert "trainwright runs rerun 20261122-120000-abcd --step evaluate" in top
    assert 'id="step-evaluate"' in page


@pytest.mark.parametrize(
    "text",
    [
        "0.9875",
        "http://127.0.0.1:8501/v1/models/digits",
        "trainwright serve stop",
        "accuracy 0.99 is over 0.9",
        "params",
        "git.commit",
        "<summary>1 packages</summary>",
        "3.11.7",
        "Confusion matrix",
        "ROC curve; area 0.9500<br>of class cat",
        "true positive rate (recall)",
        '<text class="tick" x="130.0" y="277" text-anchor="middle">0.5</text>',
        "if evaluate-is_blessed == true",
    ],
)
def test_the_page_says(page: str, text: str) -> None:
    assert text in page


def test_the_page_has_the_hyperparameters_in_effect(run: Run, tasks: list[Task], spec_text: str) -> None:
    found = {"params": {"units": 8}, "training": {"devices": {"threads": 3}, "class_weights": {}}, "epochs_done": None}
    model = Artifact(id="m", name="model", type="system.Model", uri="m", metadata={"hyperparameters": found})
    step = replace(tasks[0], outputs=Values(artifacts={"model": (model,)}))
    page = render_run_page(run, [step, *tasks[1:]], spec_text)
    assert "<td>params.units</td><td><code>8</code></td>" in page
    assert "<td>training.devices.threads</td><td><code>3</code></td>" in page
    assert "<td>training.class_weights</td><td><code>{}</code></td>" in page


def test_a_log_is_shown_as_a_terminal_would_leave_it(page: str) -> None:
    log = re.search(r'<pre class="log">(.*?)</pre>', page, re.DOTALL)
    assert log
    assert log[1].startswith("step 2\nred &lt;/pre&gt;")


def test_every_step_of_the_spec_is_in_the_graph_with_its_state(page: str) -> None:
    drawn = re.findall(r'<g class="(step|group) (\w*)">.*?<title>([^<]*)</title>', page, re.DOTALL)
    states = {title: state for _, state, title in drawn}
    assert states == {
        "prepare-data": "CACHED",
        "train-distributed": "SUCCEEDED",
        "evaluate": "FAILED",
        "if evaluate-is_blessed == true": "SUCCEEDED",
        "condition-1/export": "SUCCEEDED",
        "condition-1/deploy": "SUCCEEDED",
        "for-loop-1": "SUCCEEDED",
        "for-loop-1/score": "RUNNING",
    }


def test_rows_of_iterations_have_their_numbers(page: str) -> None:
    rows = re.findall(r'<tr class="groupline">.*?>([^<]+)</td>', page)
    assert [row for row in rows if row.startswith("0")] == ["0 0"], "the record of this test has no other name for it"


def test_bars_lie_where_the_time_went(page: str) -> None:
    bars = re.findall(r'class="bar (\w+)" style="margin-left: ([\d.]+)%; width: ([\d.]+)%"', page)
    assert ("SUCCEEDED", "10.0", "50.0") in bars
    assert ("FAILED", "60.0", "10.0") in bars
    assert len(bars) == 10  # a cached step took no time


def test_a_run_that_has_not_started_has_a_page(run: Run, spec_text: str) -> None:
    page = render_run_page(
        Run(**{**vars(run), "started": None, "finished": None, "state": State.PENDING}), [], spec_text
    )
    assert "not reached" in page
    assert "not yet" in page


@pytest.mark.parametrize(
    ("value", "text"),
    [(3.0, "3"), (0.123456789, "0.123457"), (True, "true"), (None, "null"), ("a", "a"), ({"a": [1]}, '{"a": [1]}')],
)
def test_values_are_short(value: object, text: str) -> None:
    assert plain_value(value) == text


def test_a_report_too_large_is_named_instead(
    run: Run, tasks: Sequence[Task], spec_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainwright_pipelines.views.reports.LIMIT_BYTES", 10)
    page = render_run_page(run, tasks, spec_text)
    assert "Too large to put into this page" in page
    assert not _Page(page).all("iframe")
