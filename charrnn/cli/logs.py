"""train --log: words typed by a person -> callbacks that log elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from charrnn.errors import SettingsError
from charrnn.terminal import one_line

PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb"}
FORMS = "tensorboard:DIR or wandb:PROJECT"


def check_logs(words: Iterable[str]) -> list[tuple[str, str]]:
    """Return kind and place of each log. Loads nothing. Raises SettingsError.

    What is wrong with a word, or which package is missing, is told before anything is read.
    """
    logs = []
    for word in words:
        kind, colon, place = word.partition(":")
        if kind not in PACKAGES or not colon or not place:
            raise SettingsError(f"--log {one_line(word)}: write it as {FORMS}")
        if find_spec(PACKAGES[kind]) is None:
            raise SettingsError(
                f"--log {kind} needs {PACKAGES[kind]}; in the clone: "
                f"pip install -c constraints.txt -e '.[{kind}]'"
            )
        if (kind, place) in logs:
            raise SettingsError(f"--log {one_line(word)} is given twice; leave one out")
        logs.append((kind, place))
    return logs


def log_callbacks(logs: Iterable[tuple[str, str]]) -> list[object]:
    """Return a callback for each. Raises StorageError for a directory that cannot be made."""
    from charrnn.callbacks import TensorBoard, WandB

    made: list[object] = []
    for kind, place in logs:
        if kind == "tensorboard":
            _make(Path(place))
            made.append(TensorBoard(place))
        else:
            made.append(WandB(project=place))
    return made


def _make(folder: Path) -> None:
    from charrnn.storage import make_directories, storage_error

    try:
        make_directories(folder)
    except OSError as error:
        raise storage_error(error, folder, option="--log") from error
