"""The README lists exactly the strategies that there are, and its code trains."""

from pathlib import Path

import pytest

from trainwright_components import train_distributed
from trainwright_components.errors import InvalidSetting
from trainwright_components.train_distributed.train import train_model
from trainwright_components.training.configuration.settings import STRATEGIES

README = (Path(train_distributed.__path__[0]) / "README.md").read_text()


def _rows(section: str) -> list[list[str]]:
    text = README.partition(f"## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_strategy_is_listed_and_no_other() -> None:
    assert [row[0].strip("`") for row in _rows("Strategies")] == list(STRATEGIES)


def test_the_loop_of_its_own_trains(small_dataset: Path, tmp_path: Path) -> None:
    """As a step of a pipeline does it: the metrics and the logs are those that the module's own `fit` gave."""
    text = README.partition("## A loop of its own\n")[2].partition("```python\n")[2].partition("```")[0]
    module, logs = tmp_path / "model.py", tmp_path / "logs"
    module.write_text(text)
    result = train_model(small_dataset, module, tmp_path / "model", training={"batch_size": 10}, log_dir=logs)
    assert (result.steps, set(result.metrics)) == (18, {"val_loss", "val_accuracy"})
    assert sorted(path.name for path in logs.iterdir()) == ["train", "validation"]
    with pytest.raises(InvalidSetting, match=r"each of the 2 members of cluster would call train\(context\) of"):
        train_model(small_dataset, module, tmp_path / "model", cluster={"worker": 2})
