"""What a reader has of a row does not depend on the rows beside it: processes can share them."""

import numpy as np
import pytest
import torch
from kernel_support import CELLS, SKIPS
from support import needs_kernel

from charrnn.config import ModelSettings
from charrnn.model.charmodel import CharModel
from charrnn.scoring.readers import GateReader, NatsReader, read_batches, summed
from charrnn.scoring.validation import lane_batches, score_batches
from charrnn.text.batches import Batch

DEEPER = [("gru", skip) for skip in SKIPS[1:]]
CPU = torch.device("cpu")
V = 70
IDS = np.random.default_rng(7).integers(0, V, 2 * 1024 + 4)
BEST = np.random.default_rng(8).integers(0, V, len(IDS))


def network(cell="gru", skip="none"):
    torch.manual_seed(3)
    settings = ModelSettings(cell=cell, skip=skip, hidden_size=33, num_layers=2, embedding_size=17)
    return CharModel(settings, V, "kernel")


def placed(first=0, last=None):
    """Some rows of two lanes, in chunks with a carried state, and of the text's tail."""
    numbers = lane_batches(np.arange(len(IDS)), 2)
    for batch, places in zip(lane_batches(IDS, 2), numbers, strict=True):
        rows = Batch(batch.inputs[first:last], batch.targets[first:last], batch.fresh)
        yield rows, places.targets.numpy()[first:last]


@needs_kernel
@pytest.mark.parametrize(("cell", "skip"), [*((cell, "none") for cell in CELLS), *DEEPER])
def test_a_row_has_the_same_numbers_alone(cell, skip):
    model = network(cell, skip)
    for reader in (NatsReader(model), GateReader(model, CPU, BEST, None)):
        whole = list(read_batches(model, reader, placed()))
        assert [len(read.batch.inputs) for read in whole] == [2, 2, 2, 1]
        parts = [list(read_batches(model, reader, placed(row, row + 1))) for row in range(2)]
        for read, *rows in zip(whole, *parts, strict=True):
            found = np.concatenate([row.numbers for row in rows], 1)
            assert np.array_equal(found, read.numbers)


@needs_kernel
def test_what_is_summed_is_the_score_to_the_bit():
    model = network()
    batches = [batch for batch, _ in placed()]
    ignored = batches[1].targets.clone()
    ignored[1, 100:] = -100
    batches[1] = batches[1]._replace(targets=ignored)
    read = read_batches(model, NatsReader(model), ((batch, BEST[:0]) for batch in batches))
    assert summed(read) == score_batches(model, iter(batches), CPU)
