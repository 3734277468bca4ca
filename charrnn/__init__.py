"""Character-level text generation with recurrent networks.

    import charrnn

    run = charrnn.train("names", budget="1m")  # as `charrnn train names --budget 1m`
    print(run.score.bits_per_char, run.samples(10))

    sampler = charrnn.load("runs/names")  # needs numpy, not torch
    for sample in sampler.generate(10, decoding=charrnn.Decoding(temperature=0.8), seed=1):
        print(sample.text)

The names below are loaded when they are first used, so that `import charrnn` costs nothing. Type
checkers find them in __init__.pyi.
Everything else is the program: `charrnn --help`, or `python -m charrnn --help`.
"""

from importlib import import_module
from typing import Any

# pyproject.toml reads it here: asking importlib.metadata costs 30 ms at every start.
__version__ = "0.4.0"

_PUBLIC = {
    "CharrnnError": "charrnn.errors",
    "Decoding": "charrnn.sampling.decode",
    "History": "charrnn.api.history",
    "Network": "charrnn.api.networks",
    "Run": "charrnn.api.run",
    "Sample": "charrnn.sampling.codec",
    "Sampler": "charrnn.sampling.engine",
    "Score": "charrnn.scoring.score",
    "StopTraining": "charrnn.errors",
    "load": "charrnn.sampling.engine",
    "load_torch": "charrnn.api.networks",
    "open_run": "charrnn.api.run",
    "samples_of": "charrnn.sampling.prompts",
    "save_torch": "charrnn.api.networks",
    "train": "charrnn.api.training",
    "Writer": "charrnn.sampling.engine",
}
_MODULES = ("callbacks", "errors", "events")
__all__ = [
    "CharrnnError",
    "Decoding",
    "History",
    "Network",
    "Run",
    "Sample",
    "Sampler",
    "Score",
    "StopTraining",
    "Writer",
    "__version__",
    "callbacks",
    "errors",
    "events",
    "load",
    "load_torch",
    "open_run",
    "samples_of",
    "save_torch",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    if name in _MODULES:
        return import_module(f"charrnn.{name}")
    raise AttributeError(f"module 'charrnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
