"""charrnn train under torchrun: one process leads, and the others leave as it does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from charrnn.launch import Launch

Trained = tuple[Path, Any, Any]


def trained_together(launch: Launch, train: Callable[[Any], Trained]) -> Trained | int:
    """Return what the training of process 0 has returned; in the others the exit code.

    train: leads the group that it is given.
    """
    from charrnn.parallel.group import join
    from charrnn.training.together import train_together

    group = join(launch)
    trained = train_together(group, sys.argv[1:], lambda: train(group), is_guest=False)
    return trained if isinstance(trained, tuple) else trained.code
