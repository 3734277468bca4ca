"""What the tests of this folder share."""

from pathlib import Path

import numpy as np
from faults import (
    trainings,
)

LINES = trainings(Path("nowhere"))["lines"]


put_text, start, resume = LINES.put_text, LINES.start, LINES.resume


# F6: the kernel itself refuses to write on


LONGER = {"steps": 120, "save_every": "7", "eval_every": "40"}


def equal(first, second):
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )
