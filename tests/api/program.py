"""A program that uses everything public: it runs, and `mypy --strict` passes on it.

tests/docs/test_api.py does both. Run in an empty directory: python program.py
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch

import charrnn
from charrnn.errors import SettingsError, VocabularyError
from charrnn.events import Checkpoint, End, Evaluation, Samples, Start, Step

LINES = [
    f"{kind}\t{first}{last}"
    for first in ("wal", "ber", "ott", "adel", "ger")
    for last, kind in (("do", "old"), ("rik", "new"), ("ina", "old"), ("olf", "new"))
]


class Watcher:
    """Keeps what it is told, and stops a training at its eighth step."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.place: Path | None = None
        self.reason = ""

    def on_start(self, event: Start) -> None:
        self.place = event.run

    def on_step(self, event: Step) -> None:
        self.steps.append(event.step)
        if event.step == 8 and event.train_nats_per_char > 0:
            raise charrnn.StopTraining

    def on_evaluation(self, event: Evaluation) -> None:
        print(event.step, event.val_nats_per_char, event.is_best)

    def on_samples(self, event: Samples) -> None:
        print(event.text)

    def on_checkpoint(self, event: Checkpoint) -> None:
        print(event.path.name)

    def on_end(self, event: End) -> None:
        self.reason = event.reason


def trained(watcher: Watcher) -> charrnn.Run:
    """Return a run that the watcher stopped, gone on with."""
    # A string that a program gives has a line break in it: it is the text itself.
    text = "\n".join(LINES)
    logs = charrnn.callbacks.TensorBoard("logs")
    run: charrnn.Run = charrnn.train(
        text + "\n",
        run="runs/kinds",
        callbacks=[watcher, logs],
        progress="off",
        label="prefix",
        delimiter="\t",
        steps=20,
        hidden_size=8,
        seed=1,
    )
    return run.resume(steps=30, progress="off")


def looked_at(run: charrnn.Run) -> None:
    """Print what a run says about itself."""
    score: charrnn.Score = run.score
    history: charrnn.History = run.history
    print(run.path, run.step, run.settings["hidden_size"], run.notes)
    print(score.nats_per_char, score.bits_per_char, score.perplexity, score.per("char"))
    print(score + score, history.steps["step"], history.evaluations["val_nats_per_char"])
    print(run.evaluate(split="val")["bits_per_char"], run.samples(3, temperature=0.7, seed=1))
    print(run.report("page.html").name, run.torch())
    print(charrnn.open_run(run.path).step, charrnn.__version__)


def written(sampler: charrnn.Sampler) -> None:
    """Write, score and classify."""
    narrow = charrnn.Decoding(temperature=0.8, top_k=5, top_p=0.9, min_p=0.01)
    samples: list[charrnn.Sample] = list(sampler.generate(4, decoding=narrow, seed=1, label="old"))
    print(
        [(sample.index, sample.text, sample.nats, sample.chars, sample.data) for sample in samples]
    )
    print([sample.text for sample in charrnn.samples_of(sampler, ["wal", "ot"], 2, seed=1)])
    print(b"".join(sampler.stream(prime="a", length=9, seed=1)))
    writer: charrnn.Writer = sampler.begin("wal", seed=1)
    twin = writer.copy()
    twin.reseed(2)
    twin.read("do")
    print(b"".join(twin.write(5)), sampler.score("waldo"), sampler.engine)
    print(sampler.classify("waldo", prior="flat"), sampler.labelled("new").score("waldo"))
    logits, state = sampler.step(
        sampler.feed(torch.tensor([1]).numpy())[0].argmax(1), sampler.zero_state(1)
    )
    print(logits.shape, len(state), pickle.loads(pickle.dumps(sampler)).engine)


def tuned(run: charrnn.Run) -> None:
    """Train by hand, write it back and read it."""
    network: charrnn.Network = charrnn.load_torch(run.path)
    ids = torch.tensor([[network.file.start, *network.encode("waldo\n")]])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    logits, state = network(ids[:, :-1])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    optimizer.step()
    print(network.decode(ids[0, 1:].tolist()), charrnn.save_torch(network, "tuned"), len(state))


def main() -> None:
    watcher = Watcher()
    run = trained(watcher)
    looked_at(run)
    written(charrnn.load(run.path, weights="float32", engine="auto"))
    tuned(run)
    try:
        charrnn.load(run.path).score("%")
    except VocabularyError as error:
        print(error)
    try:
        charrnn.train(LINES, hiden_size=3)
    except SettingsError as error:
        print(error)
    except charrnn.CharrnnError:
        raise
    print(watcher.place, watcher.steps, watcher.reason)


if __name__ == "__main__":
    main()
