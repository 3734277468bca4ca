"""Names and shapes of a model's tensors, for whoever builds, stores or runs one. No torch, no disk."""

from __future__ import annotations

from charrnn.config import ModelSettings

GATES = {"rnn": 1, "lstm": 4, "gru": 3, "gru-before": 3}
PARAMETERS = (
    "weight_ih",
    "weight_hh",
    "bias_ih",
    "bias_hh",
)  # of each layer, with torch.nn's names


def expected_shapes(settings: ModelSettings, vocabulary_size: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a model, without making any. V vocabulary, E embedding, G gates, H hidden."""
    hidden, layers, embedding = sizes(settings)
    rows = GATES[settings.cell] * hidden
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (vocabulary_size, embedding)}
    width = embedding
    for k in range(layers):
        shapes |= {
            f"recurrent.weight_ih_l{k}": (rows, width),
            f"recurrent.weight_hh_l{k}": (rows, hidden),
        }
        shapes |= {f"recurrent.bias_ih_l{k}": (rows,), f"recurrent.bias_hh_l{k}": (rows,)}
        width = width + hidden if settings.skip == "dense" else hidden
    if not settings.tie_weights:
        shapes["head.weight"] = (vocabulary_size, width)
    return shapes | {"head.bias": (vocabulary_size,)}


def sizes(settings: ModelSettings) -> tuple[int, int, int]:
    """hidden size, layers, embedding size. Raises ValueError while one is still to be decided."""
    if (
        settings.hidden_size is None
        or settings.num_layers is None
        or settings.embedding_size is None
    ):
        raise ValueError("model settings must name every size")
    return settings.hidden_size, settings.num_layers, settings.embedding_size
