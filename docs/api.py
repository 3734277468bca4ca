"""Write docs/api.md: every public name of the package, from its docstring.

    python docs/api.py

tests/docs/test_api.py holds that the page is up to date, and runs its examples.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import charrnn

WIDTH = 100
PAGE = Path(__file__).parent / "api.md"
INTRODUCTION = '''\
# The Python package

Written by `python docs/api.py` from the docstrings: change those, not this page.
What has no place here is private.

Train, look and go on. The work is that of `charrnn train`: equal settings leave equal weights.

```python
import charrnn

run = charrnn.train("names", steps=60, hidden_size=64, seed=1)
print(run.score.bits_per_char, run.history.evaluations["val_nats_per_char"][-1])
print(run.samples(5, temperature=0.8, seed=1))
print(run.evaluate(split="test")["bits_per_char"])
run = run.resume(steps=90)
run.report("page.html")
```

A list of strings is a corpus too, and so is a string with line breaks.
Callbacks watch a training, and may end it:

```python
import charrnn


class Patience:
    """Ends a training when validation is good enough."""

    def on_evaluation(self, event: charrnn.events.Evaluation) -> None:
        if event.val_nats_per_char < 2.5:
            raise charrnn.StopTraining


words = [
    f"{first}{second}"
    for first in ("wal", "ber", "ott", "adel", "ger")
    for second in ("do", "rik", "ina", "olf", "a")
]
run = charrnn.train(words, steps=60, hidden_size=16, callbacks=[Patience()])
print(run, run.notes)
```

The network is a module of PyTorch, to be trained on by hand and written back:

```python
import charrnn
import torch

network = charrnn.load_torch("runs/names")
text = torch.tensor([[network.file.start, *network.encode("Marianne\\n")]])
optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
for _ in range(5):
    logits, state = network(text[:, :-1])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
charrnn.save_torch(network, "runs/marianne")
print([sample.text for sample in charrnn.load("runs/marianne").generate(3, seed=1)])
```

Its file needs no charrnn. The tensors have torch.nn's names:

```python
import torch
from safetensors.torch import load_file

tensors = load_file("runs/marianne/model.safetensors")
embedding = torch.nn.Embedding.from_pretrained(tensors["embedding.weight"])
gru = torch.nn.GRU(embedding.embedding_dim, 64, batch_first=True)
gru.load_state_dict(
    {name[10:]: part for name, part in tensors.items() if name.startswith("recurrent.")}
)
outputs, state = gru(embedding(torch.tensor([[1, 2, 3]])))
logits = torch.nn.functional.linear(outputs, tensors["head.weight"], tensors["head.bias"])
```

Sampling needs numpy and never loads torch. A sampler can be pickled, and threads can share one:

```python
import charrnn

sampler = charrnn.load("runs/names")
for sample in sampler.generate(3, decoding=charrnn.Decoding(temperature=0.8), seed=1):
    print(sample.text, sample.nats / sample.chars)
print(sampler.score("Marianne"))

# Many prompts, side by side: two samples for each.
for sample in charrnn.samples_of(sampler, ["Mar", "Ann", "Jo"], 2, seed=1):
    print(sample.index // 2, sample.text)
```
'''
# What a person meets, in the order of meeting it; classes with what may be called on them.
NAMES: tuple[tuple[str, Any], ...] = (
    ("charrnn.train", charrnn.train),
    ("charrnn.open_run", charrnn.open_run),
    ("charrnn.Run", charrnn.Run),
    ("charrnn.History", charrnn.History),
    ("charrnn.Score", charrnn.Score),
    ("charrnn.load", charrnn.load),
    ("charrnn.Sampler", charrnn.Sampler),
    ("charrnn.samples_of", charrnn.samples_of),
    ("charrnn.Decoding", charrnn.Decoding),
    ("charrnn.Sample", charrnn.Sample),
    ("charrnn.Writer", charrnn.Writer),
    ("charrnn.load_torch", charrnn.load_torch),
    ("charrnn.save_torch", charrnn.save_torch),
    ("charrnn.Network", charrnn.Network),
    ("charrnn.callbacks.TensorBoard", charrnn.callbacks.TensorBoard),
    ("charrnn.callbacks.WandB", charrnn.callbacks.WandB),
    *(
        (f"charrnn.events.{name}", getattr(charrnn.events, name))
        for name in ("Start", "Step", "Evaluation", "Samples", "Checkpoint", "End")
    ),
    *(
        (f"charrnn.errors.{name}", error)
        for name, error in vars(charrnn.errors).items()
        if isinstance(error, type)
    ),
)


def page() -> str:
    """Return the page as it should be."""
    return "\n".join([INTRODUCTION, *(_entry(name, value) for name, value in NAMES)])


def _entry(name: str, value: Any) -> str:
    """Return a heading, the signature and the docstring of a name, and of its public methods."""
    lines = [f"## {name}", ""]
    is_error = isinstance(value, type) and issubclass(value, Exception)
    if not is_error:
        lines += ["```text", _signature(name.rpartition(".")[2], value), "```", ""]
    lines += [inspect.getdoc(value) or "", ""]
    if isinstance(value, type) and not is_error:
        bases = [base for base in value.__bases__ if inspect.isabstract(base)]
        members = vars(value) | {
            name: method
            for base in bases
            for name, method in vars(base).items()
            if name not in vars(value)
        }
        for member, method in members.items():
            if not member.startswith("_"):
                lines += _member(member, method)
    return "\n".join(lines)


def _member(name: str, member: Any) -> list[str]:
    """Return a method or a property of a class; nothing for a field, which its docstring has."""
    if isinstance(member, classmethod | staticmethod):
        member = member.__func__
    if inspect.isfunction(member):
        text = inspect.getdoc(member) or ""
        return ["```text", f".{_signature(name, member)}", "```", "", text, ""]
    doc = inspect.getdoc(member)
    if isinstance(member, property) or hasattr(member, "attrname"):  # a cached property
        return [f"`.{name}`: {doc or ''}", ""]
    return []


class _Plain:
    """A part of a signature that is printed as it is, without the quotes of a string."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _unquoted(part: inspect.Parameter) -> inspect.Parameter:
    """Return a parameter whose type is printed without quotes, its default with double ones."""
    if isinstance(part.default, str):
        part = part.replace(default=_Plain(json.dumps(part.default)))
    if part.annotation is part.empty:
        return part
    annotation = getattr(part.annotation, "__forward_arg__", part.annotation)
    return part.replace(annotation=_Plain(str(annotation)))


def _signature(name: str, value: Any) -> str:
    """Return `name(arguments) -> type`, an argument a line where it is long."""
    signature = inspect.signature(value)
    parameters = [
        _unquoted(part)
        for part in signature.parameters.values()
        if part.name not in ("self", "cls") and not part.name.startswith("_")
    ]
    is_empty = signature.return_annotation is inspect.Signature.empty
    returned = "None" if is_empty else str(signature.return_annotation)
    signature = signature.replace(parameters=parameters, return_annotation=_Plain(returned))
    short = f"{name}{signature}"
    if len(short) <= WIDTH:
        return short
    lines = []
    is_keyword = False
    for part in parameters:
        if part.kind is part.KEYWORD_ONLY and not is_keyword:
            is_keyword = True
            lines.append("*")
        lines.append(str(part))
    arguments = "".join(f"    {line},\n" for line in lines)
    return f"{name}(\n{arguments}) -> {returned}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
