"""Options that would do nothing in a training: whoever gives one means something else."""

from __future__ import annotations

from collections.abc import Iterator

from charrnn.config import Settings, flag
from charrnn.errors import SettingsError
from charrnn.text.building import Survey
from charrnn.text.entries import is_table


def check_idle(settings: Settings, origins: dict[str, str], survey: Survey) -> list[str]:
    """Raise SettingsError for a flag that does nothing with this text and network.

    What files and presets set is passed over. Returns notes: --seq-length is typed out of habit.
    """
    notes: list[str] = []
    for key, reason in _idle(settings, survey):
        if origins.get(key) != flag(key):
            continue
        if key == "seq_length":
            notes.append(f"{flag(key)} {reason}: it does nothing here")
        else:
            raise SettingsError(f"{flag(key)} {reason}; leave it out")
    return notes


def _idle(settings: Settings, survey: Survey) -> Iterator[tuple[str, str]]:
    """Yield the settings that do nothing, and why."""
    if survey.mode == "lines":
        yield "state_reset", "is for a stream, and this text is lines of their own"
        if survey.form == "lines":
            yield "seq_length", "is for a stream, and lines are learnt whole"
    else:
        yield "deduplicate", "is for lines, and this text is one stream (--mode lines)"
        yield "split_seed", "shuffles lines, and this text is one stream that is not shuffled"
    if settings.text.errors == "skip" and not is_table(survey.as_read(settings.text)):
        yield "errors", "skip is for the rows of a table, and this text is none (--column NAME)"
    if settings.model.cell != "lstm":
        yield "forget_bias", f"is for --cell lstm, not for {settings.model.cell}"
    if not survey.sources["train"].has_directory:
        yield "glob", "is for a directory, and the text is one file"
