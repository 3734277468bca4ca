"""The engines that the proofs run with."""

import pytest
import torch

from charrnn.model import kernel


@pytest.fixture(params=["kernel", "torch"])
def engine(request, monkeypatch):
    """Score with the compiled kernel, or with PyTorch alone, on one thread."""
    if request.param == "torch":
        monkeypatch.setattr(kernel, "is_usable", lambda: False)
    elif not kernel.is_usable():
        pytest.skip("the compiled kernel is not here")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield request.param
    torch.set_num_threads(threads)
