"""Names and shapes of a model's tensors, for all who build, store or run one. No torch, no disk."""

from __future__ import annotations

from charrnn.config import ModelSettings

GATES = {"rnn": 1, "lstm": 4, "gru": 3, "gru-before": 3}  # blocks of H rows in a weight matrix
PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")  # of each layer: torch.nn's names


def expected_shapes(
    settings: ModelSettings, vocabulary_size: int, labels: int = 0
) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor of a model, without making any.

    labels: how many it knows.
    """
    hidden, layers, embedding = sizes(settings)
    rows = GATES[settings.cell] * hidden
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (vocabulary_size, embedding)}
    if labels:
        shapes["labels.weight"] = (labels, embedding)  # what each adds to the newline's embedding
    if settings.conv:
        shapes["conv.weight"] = (embedding, embedding, settings.conv)  # as torch.nn.Conv1d's
    width = embedding  # numbers a character that the next layer, or the head, reads
    for k in range(layers):
        shapes[f"recurrent.weight_ih_l{k}"] = (rows, width)
        shapes[f"recurrent.weight_hh_l{k}"] = (rows, hidden)
        shapes[f"recurrent.bias_ih_l{k}"] = (rows,)
        shapes[f"recurrent.bias_hh_l{k}"] = (rows,)
        width = width + hidden if settings.skip == "dense" else hidden
    if not settings.tie_weights:
        shapes["head.weight"] = (vocabulary_size, width)
    shapes["head.bias"] = (vocabulary_size,)
    return shapes


def sizes(settings: ModelSettings) -> tuple[int, int, int]:
    """Return hidden size, layers, embedding size. Raises ValueError while one is undecided."""
    hidden = settings.hidden_size
    layers = settings.num_layers
    embedding = settings.embedding_size
    if hidden is None or layers is None or embedding is None:
        raise ValueError("model settings must name every size")
    return hidden, layers, embedding
