"""A look at a network in training: what it writes as it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from charrnn.modelfile import parse_model
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler

LINES = 5
LINE_CHARS = 60
STREAM_CHARS = 300


def preview(tensors: dict[str, np.ndarray], meta: dict[str, Any]) -> str:
    """Return five lines, or 300 characters of a stream. meta: as a model file has it."""
    sampler = Sampler(parse_model(Path("weights in training"), tensors, meta))
    is_lines = meta["mode"] == "lines"
    count = LINES if is_lines else 1
    length = LINE_CHARS if is_lines else STREAM_CHARS
    decoding = Decoding(temperature=0.8)
    samples = sampler.generate(count, decoding=decoding, length=length, seed=meta["step"])
    return "\n".join(sample.text for sample in samples)
