"""`trainwright runs compare`: what differs between runs, and which is better by each metric."""

from typing import TYPE_CHECKING, Any

import click

from trainwright_components.errors import InvalidSetting
from trainwright_pipelines.cli.lazy import ExampleCommand
from trainwright_pipelines.cli.options import json_option
from trainwright_pipelines.cli.output import print_json, print_table
from trainwright_pipelines.cli.runs import opened_store

if TYPE_CHECKING:
    from trainwright_pipelines.views.comparison import Comparison, Difference

_LONGEST = 40


@click.command(
    cls=ExampleCommand,
    examples="""\
trainwright runs compare RUN OTHER_RUN
trainwright runs compare RUN OTHER_RUN latest --json
""",
)
@click.argument("run", nargs=-1, required=True)
@json_option
def compare(run: tuple[str, ...], as_json: bool) -> None:
    """Show what differs between runs, two or more: parameters, hyperparameters in effect, data, module, code, versions.

    Metrics are shown also where they are the same, each with the way in which it is good; * marks the best.
    """
    from trainwright_pipelines.views.comparison import compare_runs

    with opened_store(only_reads=True) as store:
        found = {each.id: each for each in map(store.run, run)}
        if len(found) < 2:
            raise InvalidSetting(f"name two runs to compare, or more; got {', '.join(found)}")
        specs = [store.spec_text(each) for each in found]
        comparison = compare_runs([(each, store.tasks(each.id)) for each in found.values()], specs)
    if as_json:
        print_json(comparison)
        return
    _print(comparison)


def _print(comparison: "Comparison") -> None:
    letters = [chr(ord("A") + place) if place < 26 else str(place) for place in range(len(comparison.runs))]
    for letter, name in zip(letters, comparison.runs, strict=True):
        click.echo(f"{letter}  {name}")
    for title, rows in comparison.sections.items():
        click.echo()
        print_table([_row(each) for each in rows], header=(title.upper(), *letters))
        if title == "metrics" and not comparison.is_of_same_data:
            click.echo("measured on different data: see below")
    for title, differences in (("MODULE", comparison.module_differences), ("CODE", comparison.code_differences)):
        for name, text in differences.items():
            click.echo(f"\n{title} of {letters[0]} and {letters[comparison.runs.index(name)]}\n{text}", nl=False)
    if not comparison.sections:
        click.echo("\nnothing differs")


def _row(each: "Difference") -> tuple[str, ...]:
    way = "" if each.more_is_better is None else "  ↑" if each.more_is_better else "  ↓"
    marks = ["*" if place in each.best else "" for place in range(len(each.values))]
    return f"{each.name}{way}", *(f"{_text(value)}{mark}" for value, mark in zip(each.values, marks, strict=True))


def _text(value: Any) -> str:
    from trainwright_pipelines.views.wording import plain_value

    text = "-" if value is None else plain_value(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
