"""Which engine takes the steps of a model, and in which precision its weights are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from charrnn.errors import SettingsError
from charrnn.kernel.library import library
from charrnn.modelfile import ModelFile
from charrnn.sampling.compiled import Compiled
from charrnn.sampling.network import Network
from charrnn.sampling.steps import Steps
from charrnn.terminal import one_line
from charrnn.text.spelling import Spelling

if TYPE_CHECKING:
    from charrnn.text.gate import Ally  # a network alone need not wait for it

WEIGHTS = ("auto", "float32", "float16")
ENGINES = ("auto", "compiled", "numpy")


def choose_steps(model: ModelFile, weights: str, engine: str, cache: int) -> Steps | Compiled:
    """Return what takes the steps of a model.

    Raises SettingsError for what is not here, or does not fit.
    """
    spelling = model.vocabulary.spelling
    _check_one_of("--weights", weights, WEIGHTS)
    _check_one_of("engine", engine, ENGINES)
    if engine == "compiled" and (model.counts or library() is None):
        reason = "install charrnn where there is a C compiler"
        if model.counts:
            reason = "counting models are sampled by numpy"
        raise SettingsError(f"the compiled kernel is not here: {reason}")
    if cache:
        from charrnn.sampling.cache import Cached, check  # most samplers do without

        check(cache, model)
    if model.counts:
        from charrnn.sampling.counted import Counted  # a network need not wait for it

        ngram = model.ngram()
        return _spelled(Counted(ngram, model.label_grams(ngram)), spelling)
    if weights == "auto":
        weights = "float16" if _half_is_fine(model) else "float32"
    plain = Network(model, weights)
    is_compiled = engine != "numpy" and library() is not None
    steps: Steps | Compiled
    if is_compiled:
        steps = Compiled(plain, ally=model.ally, spelling=spelling)
    else:
        steps = _mixed(_spelled(plain, spelling), plain.name, model.ally)
    return Cached(steps, plain, cache) if cache else steps


def _mixed(steps: Steps, name: str, ally: Ally | None) -> Steps:
    """Return the steps with the n-grams beside them, where there are some."""
    if ally is None:
        return steps
    from charrnn.sampling.mixed import Mixed  # a network alone need not wait for it

    return Mixed(steps, name, ally)


def _spelled(steps: Steps, spelling: Spelling | None) -> Steps:
    """Return the steps, masked where rare characters are bytes."""
    if spelling is None:
        return steps
    from charrnn.sampling.spelled import Spelled  # most alphabets do without

    return Spelled(steps, spelling)


def _half_is_fine(model: ModelFile) -> bool:
    """Does float16 pay and hold the weights?

    Rows side by side share what they read; a stream waits for all of it. Beyond float16's range
    nothing may be cut.
    """
    if model.mode != "stream":
        return False
    most = float(np.finfo(np.float16).max)
    return all(float(np.abs(value).max()) <= most for value in model.tensors.values())


def _check_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingsError(f"{name} {one_line(value)!r} is not one of {', '.join(known)}")
