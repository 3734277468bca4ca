"""charrnn runs: what lies under runs/, and deleting some of it."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from charrnn.cli.completion import run_names
from charrnn.cli.json_lines import write_json
from charrnn.cli.options import TEXT, Json, option, switch
from charrnn.errors import SettingsError
from charrnn.terminal import one_line, print_line, say, size_of

if TYPE_CHECKING:
    from charrnn.report.shelf import Shelved

COLUMNS = ["run", "text", "network", "steps", "bits", "state", "last used", "size"]
MOST_TEXT_CHARS = 10
MINUTE, HOUR, DAY = 60, 3600, 86400  # s


def runs(
    delete: Annotated[
        list[str] | None,
        option(
            "--delete",
            help="Delete the run of this name, after asking; may be repeated",
            metavar=TEXT,
            default="none",
            completion=run_names,
        ),
    ] = None,
    yes: Annotated[bool, switch("--yes", "-y", help="Delete without asking")] = False,
    json: Json = False,
) -> None:
    """List the runs under runs/

    The last used first. bits: the best bits per character on the validation text.
    """
    if yes and not delete:
        raise SettingsError("--yes answers --delete; name a run to delete, or leave it out")

    from charrnn.modelfile import RUNS
    from charrnn.report.shelf import listed

    entries = listed(RUNS)
    if delete:
        _delete(delete, RUNS, entries, yes=yes)
    elif json:
        write_json(map(_as_object, entries))
    elif not entries:
        say(f"no run under {RUNS}/; train one: charrnn train names")
    else:
        from charrnn.tables import print_table

        now_s = time.time()
        rows = [_row(entry, now_s) for entry in entries]
        print_table(f"under {RUNS}/, the last used first", COLUMNS, rows, excerpts="run")
        for entry in entries:
            if entry.problem is not None:
                say(f"{one_line(entry.name)}: {one_line(entry.problem)}")


def _delete(names: list[str], folder: Path, entries: list[Shelved], *, yes: bool) -> None:
    """Delete runs, each after a question. Nothing is deleted unless all may be."""
    from charrnn.training.removal import remove_run, run_to_remove

    paths = [run_to_remove(name, folder) for name in dict.fromkeys(names)]
    sizes = {entry.path: entry.size_bytes for entry in entries}
    for path in paths:
        shown = f"{one_line(str(path))} ({size_of(sizes.get(path, 0))})"
        if not yes and not _is_confirmed(f"delete {shown}? [y/N] "):
            say(f"kept {one_line(str(path))}")
            continue
        remove_run(path)
        print_line(f"deleted {shown}")


def _is_confirmed(question: str) -> bool:
    """Ask on standard error, and read the answer. Raises SettingsError where nobody answers."""
    if sys.stderr is not None:
        print(question, end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline() if sys.stdin is not None else ""
    if not answer:
        say("")
        raise SettingsError("--delete asks first, and nobody answers; pass --yes")
    return answer.strip().lower() in ("y", "yes")


def _row(entry: Shelved, now_s: float) -> list[str]:
    bits = entry.val_bits_per_char
    step = "-" if entry.step is None else _count(entry.step)
    shown_bits = "-" if bits is None else f"{bits:.3f}"
    return [
        one_line(entry.name),
        _cut(one_line(entry.text or "-")),
        entry.network,
        step,
        shown_bits,
        entry.state,
        _ago(now_s - entry.last_used_ns / 1e9),
        size_of(entry.size_bytes),
    ]


def _cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT_CHARS else f"{text[: MOST_TEXT_CHARS - 1]}…"


def _count(number: int) -> str:
    """Return a number in at most five characters, such as 4,380, 12k or 1.2M."""
    if number < 10_000:
        return f"{number:,}"
    if number < 1_000_000:
        return f"{number // 1000}k"
    return f"{number / 1e6:.1f}M"


def _ago(value_s: float) -> str:
    if value_s < MINUTE:
        return "now"
    if value_s < HOUR:
        return f"{value_s // MINUTE:.0f} min ago"
    if value_s < DAY:
        return f"{value_s // HOUR:.0f} h ago"
    return f"{value_s // DAY:.0f} d ago"


def _as_object(entry: Shelved) -> dict[str, Any]:
    model = entry.model
    return {
        "run": entry.name,
        "path": str(entry.path),
        "state": entry.state,
        "text": entry.text,
        "cell": model and model.cell,
        "num_layers": model and model.num_layers,
        "hidden_size": model and model.hidden_size,
        "step": entry.step,
        "val_nats_per_char": entry.val_nats_per_char,
        "val_bits_per_char": entry.val_bits_per_char,
        "last_used": datetime.fromtimestamp(entry.last_used_ns / 1e9, UTC).isoformat(),
        "bytes": entry.size_bytes,
        "runs": entry.members or None,
        "problem": entry.problem,
    }
