"""Character-level text generation with recurrent networks.

    import charrnn

    sampler = charrnn.load("runs/names")  # needs numpy, not torch
    for sample in sampler.generate(10, decoding=charrnn.Decoding(temperature=0.8), seed=1):
        print(sample.text)

The names below are loaded when they are first used, so that `import charrnn` costs nothing.
Everything else is the program: `charrnn --help`, or `python -m charrnn --help`.
"""

from importlib import import_module
from typing import Any

# pyproject.toml reads it here: asking importlib.metadata costs 30 ms at every start.
__version__ = "0.4.0"

_PUBLIC = {
    "CharrnnError": "charrnn.errors",
    "Decoding": "charrnn.sampling.decode",
    "Sampler": "charrnn.sampling.engine",
    "load": "charrnn.sampling.engine",
}
__all__ = ["CharrnnError", "Decoding", "Sampler", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'charrnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
