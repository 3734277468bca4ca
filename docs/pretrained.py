"""Put trained runs among the models that come with charrnn.

    python docs/pretrained.py runs/names runs/shakespeare

Of a run goes along what `sample`, `eval`, `cells`, `report` and `--init-from` read: the model, its
text, its samples, a record of every tenth step, and a card with the command that makes it again.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import textwrap
from pathlib import Path

from charrnn.modelfile import read_model
from charrnn.training.outcome import weights_sha256

PRETRAINED = Path(__file__).parent.parent / "charrnn" / "pretrained"
EVERY = 10  # steps that one line of the shipped record stands for
MOST_FILTER_BYTES = 100_000
CARD = """# {name}

A model that comes with charrnn: `charrnn sample {name}`.

| | |
|---|---|
| network | {cell}, {layers} x {hidden}, {parameters:,} weights{beside} |
| text | {source} |
| validation | {bits:.3f} bits per character, at step {step:,} |
| weights | SHA-256 `{sha256}` |

{limits}

This command made it. The same processor, threads and version of torch make the same weights:

```
{command}
```
"""
SOURCES = {
    "names": "`corpora/names.txt`, given names of the census of 1990, public domain",
    "shakespeare": "`corpora/shakespeare.txt`, a megabyte of plays, public domain",
}
LIMITS = {
    "names": "It writes given names, some of which its text has: `--novel` leaves those out.",
    "shakespeare": "It writes lines that look like plays. They mean nothing.",
}


def ship(run: Path) -> None:
    """Copy one run, without what names this machine."""
    name = run.name
    folder = PRETRAINED / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "corpus").mkdir(parents=True)
    for file in ("model.safetensors", "samples.txt"):
        shutil.copy(run / file, folder / file)
    for file in sorted((run / "corpus").iterdir()):
        if file.suffix == ".ids" and read_model(run).mode == "stream":
            continue  # they are the shipped text again: charrnn/text/shipped.py makes them
        if file.suffix != ".novel" or file.stat().st_size <= MOST_FILTER_BYTES:
            shutil.copy(file, folder / "corpus" / file.name)

    # 1. What made it
    about = json.loads((run / "run.json").read_text())
    words = about["command"][1:]
    place = words.index("--run") + 1
    command = ["charrnn", *words[:place], f"runs/{name}", *words[place + 1 :]]
    about["command"] = command
    (folder / "run.json").write_text(json.dumps(about, indent=2) + "\n")
    record = thinned((run / "metrics.jsonl").read_text().splitlines())
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in record))

    # 2. Its card
    model = read_model(folder)
    settings = model.settings.model
    beside = ""
    if model.ally is not None:
        beside = f", and n-grams of up to {model.ally.contexts.order} characters beside it"
    card = CARD.format(
        name=name,
        cell=settings.cell.upper(),
        layers=settings.num_layers,
        hidden=settings.hidden_size,
        parameters=sum(value.size for value in model.tensors.values()),
        beside=beside,
        source=SOURCES[name],
        bits=(model.val_nats_per_char or 0.0) / 0.6931471805599453,
        step=model.step,
        command=wrapped(command),
        sha256=weights_sha256(model.tensors),
        limits=LIMITS[name],
    )
    (folder / "README.md").write_text(card)


def wrapped(command: list[str]) -> str:
    """Return a command for a shell, on lines of fewer than 100 characters."""
    return textwrap.fill(
        shlex.join(command), 96, subsequent_indent="  ", break_on_hyphens=False
    ).replace("\n", " \\\n")


def thinned(lines: list[str]) -> list[str]:
    """Return evaluations, and a line for every EVERY steps: the mean of their losses."""
    kept = []
    group: list[dict[str, float]] = []
    for line in lines:
        fields = json.loads(line)
        if "event" in fields:
            kept.append(line)
            continue
        group.append(fields)
        if len(group) == EVERY or line is lines[-1]:
            chars = sum(step["chars"] for step in group)
            nats = sum(step["chars"] * step["train_nats_per_char"] for step in group)
            sums = {"chars": chars, "train_nats_per_char": round(nats / chars, 6)}
            kept.append(json.dumps(group[-1] | sums, separators=(",", ":")))
            group = []
    return kept


if __name__ == "__main__":
    for word in sys.argv[1:]:
        ship(Path(word))
