"""The graph of a run: the spec's steps, laid out without overlaps."""

from itertools import combinations
from pathlib import Path

import pytest

from trainwright_pipelines.engine.records import Task
from trainwright_pipelines.ir.parsing import parse_pipeline
from trainwright_pipelines.views.classification import read_confusion_matrix, read_roc_curve
from trainwright_pipelines.views.graph import build_graph, spec_path
from trainwright_pipelines.views.graph_drawing import Box, lay_out, shorten
from trainwright_pipelines.views.logs import last_lines, read_log_end

GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*.yaml"))


def _overlap(one: Box, other: Box) -> bool:
    return (
        one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    )


def test_a_group_holds_its_steps_and_siblings_do_not_overlap(spec_text: str, tasks: list[Task]) -> None:
    drawing = lay_out(build_graph(parse_pipeline(spec_text), tasks))
    _check_boxes([box for box in drawing.boxes if "/" not in box.node.path], drawing.width, drawing.height)


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda file: file.stem)
def test_every_shipped_pipeline_can_be_drawn(golden: Path) -> None:
    drawing = lay_out(build_graph(parse_pipeline(golden.read_text()), []))
    _check_boxes([box for box in drawing.boxes if "/" not in box.node.path], drawing.width, drawing.height)


def _check_boxes(boxes: list[Box], width: float, height: float) -> None:
    for one, other in combinations(boxes, 2):
        assert not _overlap(one, other), (one.node.path, other.node.path)
    for box in boxes:
        assert box.x >= 0
        assert box.x + box.width <= width
        assert box.y + box.height <= height
        for child in box.children:
            assert box.x < child.x
            assert child.x + child.width < box.x + box.width
            assert child.y + child.height < box.y + box.height
        _check_boxes(list(box.children), width, height)


def test_lines_say_the_order_without_repeating_what_follows(spec_text: str) -> None:
    drawing = lay_out(build_graph(parse_pipeline(spec_text), []))
    # prepare -> train -> evaluate -> condition, loop; export -> deploy; prepare -> evaluate follows from the first two
    assert len(drawing.edges) == 5
    assert all(edge.start[1] < edge.end[1] for edge in drawing.edges)


def test_iterations_have_no_place_in_the_spec() -> None:
    assert spec_path("for-loop-1/0/for-loop-2/13/train") == "for-loop-1/for-loop-2/train"


def test_long_labels_are_cut() -> None:
    assert shorten("a" * 60, 190) == "a" * 19 + "…"
    assert shorten("short", 190) == "short"


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"confusionMatrix": {"annotationSpecs": [{"displayName": "a"}], "rows": [{"row": [1, 2]}]}},
        {"confusionMatrix": "none"},
        {"confidenceMetrics": [{"recall": 1}]},
        {"confidenceMetrics": "none"},
    ],
)
def test_curves_that_make_no_sense_are_left_out(metadata: dict[str, object]) -> None:
    assert read_confusion_matrix(metadata) is None
    assert read_roc_curve(metadata) is None


def test_curves_are_read_as_the_back_end_wraps_them_too() -> None:
    inner = {"annotationSpecs": [{"displayName": "a"}], "rows": [{"row": [1]}]}
    assert read_confusion_matrix({"confusionMatrix": {"struct": inner}}) == read_confusion_matrix(
        {"confusionMatrix": inner}
    )
    points = [{"recall": 0.0, "falsePositiveRate": 0.0}, {"recall": 1.0, "falsePositiveRate": 0.5}]
    curve = read_roc_curve({"confidenceMetrics": {"list": points}})
    assert curve is not None
    assert curve.area == pytest.approx(0.75)


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(1000)))
    end = read_log_end(log, limit_bytes=100)
    assert end.is_cut
    assert end.text.startswith("line 989\n")
    assert last_lines(log, 2) == ["line 998", "line 999"]
    assert read_log_end(None).text == ""
