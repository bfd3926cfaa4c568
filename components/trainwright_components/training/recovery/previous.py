"""What other training runs left in the folder of a trained model: moved aside until the new one has ended."""

import os
from pathlib import Path

PREVIOUS_FOLDER = "previous"
_SHOWN = 8


def place_aside(model_folder: Path, key: str) -> Path:
    """Where the files of the training run with `key` are kept, and found again by the next start of that one."""
    return model_folder / PREVIOUS_FOLDER / key[:_SHOWN]


def move_files(folder: Path, target: Path) -> None:
    """Move what lies in `folder`, if there is any; what lay in `target` under the same names gives way."""
    for file in sorted(folder.iterdir(), key=os.fspath) if folder.is_dir() else ():
        move_file(file, target)


def move_file(file: Path, target: Path) -> None:
    """Move a file into the folder `target`; one by one, since not every file system renames folders."""
    target.mkdir(parents=True, exist_ok=True)
    file.replace(target / file.name)
