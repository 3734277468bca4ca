"""charrnn sample --prompts: many prompts of one file, and the texts for each as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli.prompt import read_text
from charrnn.errors import SettingsError

if TYPE_CHECKING:
    from charrnn.sampling.decode import Decoding
    from charrnn.sampling.engine import Sampler
    from charrnn.texts import Novelty

KEY = "prompt"


def check_alone(others: Mapping[str, bool]) -> None:
    """Raise SettingsError for an option that --prompts does not go with.

    others: by name, whether they are given.
    """
    for name, is_given in others.items():
        if is_given:
            raise SettingsError(
                f"--prompts writes every text it draws, for many prompts; leave out {name}"
            )


def read_prompts(path: Path) -> list[str]:
    """Return the prompts of a file, or of standard input for -. Raises SettingsError.

    A line is a prompt. If the first line is a JSON object with "prompt", all are, and a prompt may
    have several lines.
    """
    lines = read_text("--prompts", path).split("\n")
    if not lines[-1]:  # the newline that ends the file
        lines.pop()
    if not lines:
        raise SettingsError("--prompts: there is no prompt; write one on a line")
    if _prompt_in(lines[0]) is None:
        return [line.removesuffix("\r") for line in lines]
    prompts = []
    for number, line in enumerate(lines, 1):
        prompt = _prompt_in(line)
        if prompt is None:
            raise SettingsError(
                f'--prompts: line {number} is no JSON object with "{KEY}" alone, '
                "as the first line is"
            )
        prompts.append(prompt)
    return prompts


def _prompt_in(line: str) -> str | None:
    """Return the prompt of a line of JSON, or None for any other line."""
    try:
        about = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(about, dict) or set(about) != {KEY} or not isinstance(about[KEY], str):
        return None
    prompt: str = about[KEY]
    return prompt


def texts_of(
    sampler: Sampler,
    known: Novelty | None,
    prompts: list[str],
    *,
    count: int,
    length: int | None,
    seed: int,
    decoding: Decoding,
    until: str,
    unknown: str,
    threads: int | None,
) -> Iterator[dict[str, Any]]:
    """Yield the values of a JSON object for each of `count` texts of each prompt.

    Raises SettingsError at once.
    """
    from charrnn.cli.sample_view import as_objects
    from charrnn.sampling.bounds import check_held
    from charrnn.sampling.prompts import samples_of

    samples = samples_of(
        sampler,
        prompts,
        count,
        decoding=decoding,
        length=length,
        until=until,
        seed=seed,
        unknown=unknown,
        threads=threads,
    )
    if length is not None:
        check_held(count * len(prompts), length)
    objects = as_objects(samples, known, seed, rank=False, novel=False)
    return ({KEY: about["index"] // count + 1} | about for about in objects)
