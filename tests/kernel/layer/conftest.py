"""The fixtures of this folder."""

import pytest
import torch
from kernel_support import LEVELS
from layer_support import at_level, use_own_threads

from charrnn.kernel.library import lend_openmp
from charrnn.model import kernel


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(params=LEVELS)
def level(request, monkeypatch):
    monkeypatch.setattr(kernel, "library", lambda: at_level(request.param))
    return request.param


# However the work is cut up


@pytest.fixture(params=["own", "lent"])
def team(request, monkeypatch):
    """Every thread gets some work, however little there is: threads of the kernel's own, and those
    that PyTorch has.
    """
    monkeypatch.setattr(kernel, "WORK_PER_THREAD", 1)
    lend_openmp.cache_clear()
    if request.param == "own":
        use_own_threads(monkeypatch.setattr)
    elif not lend_openmp():
        pytest.skip("PyTorch's OpenMP is not GNU's")
    yield
    torch.set_num_threads(1)
    lend_openmp.cache_clear()
