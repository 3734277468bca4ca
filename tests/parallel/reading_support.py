"""Texts that are long enough for several lanes and batches of validation."""

import random
import string

from support import FEW

CHANCE = random.Random(24)
WORDS = ["".join(CHANCE.choices(string.ascii_lowercase, k=n % 9 + 2)) for n in range(200)]
PROSE = " ".join(CHANCE.choices(WORDS, k=1500))
NAMES = "".join(f"{name}\n" for name in [*FEW, *WORDS])
