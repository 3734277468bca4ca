"""A run, as a Python program holds it: its figures, its sampler, and what can be done with it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.api.calls import run_training
from charrnn.api.history import History, read_history
from charrnn.api.listening import flat
from charrnn.api.page import run_page
from charrnn.errors import CheckpointError, SettingsError
from charrnn.modelfile import read_model
from charrnn.sampling.decode import Decoding
from charrnn.sampling.engine import Sampler
from charrnn.scoring.score import Score
from charrnn.terminal import one_line

if TYPE_CHECKING:
    from torch import nn

SHOWN_SAMPLES = 10


class Run:
    """A run directory that holds a model. It is read when it is asked, and never changed here."""

    def __init__(self, path: str | Path, *, notes: Iterable[str] = ()) -> None:
        """notes: what its training said. Raises CheckpointError if there is no model."""
        self.notes = list(notes)
        self._model = read_model(Path(path))
        run = self._model.run
        if run is None:
            shown = one_line(str(path))
            raise CheckpointError(f"{shown} is a model in no run; charrnn.load reads it")
        self.path = run

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, step {self.step:,}, {self.score.bits_per_char:.3f} bits)"

    @property
    def settings(self) -> dict[str, Any]:
        """All settings by name, every size decided."""
        return flat(self._model.settings)

    @property
    def step(self) -> int:
        """The step of the weights that are kept."""
        return self._model.step or 0

    @property
    def score(self) -> Score:
        """What these weights scored on validation, when they were kept."""
        nats = self._model.val_nats_per_char
        return Score(float("nan") if nats is None else nats, 1)

    @cached_property
    def history(self) -> History:
        """How it learnt."""
        return read_history(self.path)

    @cached_property
    def sampler(self) -> Sampler:
        """The sampler of the weights that are kept."""
        return Sampler(self._model)

    def samples(
        self, count: int = SHOWN_SAMPLES, *, temperature: float = 0.8, **more: Any
    ) -> list[str]:
        """Return texts that the model writes.

        more: top_k, top_p, min_p and repetition_penalty as in Decoding; prime, length, until, seed
        and threads as in Sampler.generate. Raises SettingsError.
        """
        narrowing = {name: more.pop(name) for name in list(more) if name in _NARROWING}
        decoding = Decoding(temperature=temperature, **narrowing)
        return [sample.text for sample in self.sampler.generate(count, decoding=decoding, **more)]

    def evaluate(
        self,
        *,
        split: str | None = None,
        text: str | None = None,
        file: str | Path | None = None,
        protocol: str = "stateful",
        window: int = 256,
        device: str = "auto",
        cache: int = 0,
        dynamic: bool = False,
        baselines: bool = False,
        unknown: str = "error",
    ) -> dict[str, Any]:
        """Return the score of a text, with the keys of `charrnn eval --json`.

        split: "train", "val" or "test" of the run's text; None: test if there is one, else val.
        text, file: another text. Raises SettingsError, CorpusError, CheckpointError.
        """
        if sum(value is not None for value in (split, text, file)) > 1:
            raise SettingsError("split, text and file all say what to score; give one")
        from charrnn.scoring.evaluation import How, evaluated
        from charrnn.scoring.text import text_given, text_of_split
        from charrnn.texts import OpenedRun

        opened = OpenedRun(self._model)
        how = How(protocol, window, device, dynamic, None, cache)
        if text is None and file is None:
            scored = text_of_split(opened, split)
        else:
            path = Path(file) if file is not None else None
            scored = text_given(opened, path, text, self._model.reading, unknown)
        return evaluated(opened, scored, how, baselines, lambda note: None).to_json()

    def resume(
        self, *, callbacks: Iterable[object] = (), progress: str = "auto", **longer: Any
    ) -> Run:
        """Go on with the training, exactly where it stopped, and return the run as it is then.

        longer: budget, epochs or steps, and other settings that may change.
        """
        path, notes = run_training(
            None,
            self.path,
            resume=True,
            overwrite=False,
            allow_corpus_change=False,
            callbacks=callbacks,
            progress=progress,
            config=None,
            settings=longer,
        )
        return Run(path, notes=notes)

    def report(self, path: str | Path | None = None) -> Path:
        """Write one HTML page about the run, and return where. None: report.html in the run."""
        from charrnn.report.contents import gather
        from charrnn.report.page import page
        from charrnn.storage import write_atomically
        from charrnn.texts import OpenedRun

        place = self.path / "report.html" if path is None else Path(path)
        write_atomically(place, page(gather(OpenedRun(self._model), lambda note: None)), "path")
        return place

    def torch(self) -> nn.Module:
        """Return the network as a module of PyTorch (charrnn.load_torch)."""
        from charrnn.api.networks import load_torch

        return load_torch(self._model.path)

    def _repr_html_(self) -> str:
        return run_page(self._about(), self.score, self.history, self.samples(seed=1))

    def _about(self) -> str:
        model = self._model.settings.model
        shape = f"{model.num_layers} x {model.hidden_size}"
        if self._model.counts:
            shape = f"order {model.order}"
        return f"{self.path} · {model.cell} {shape} · step {self.step:,}"


_NARROWING = ("top_k", "top_p", "min_p", "repetition_penalty")


def open_run(path: str | Path) -> Run:
    """Return a run by its directory, or by its name under runs/. Raises CheckpointError."""
    return Run(path)
