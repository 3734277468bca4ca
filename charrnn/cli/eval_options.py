"""The options of `charrnn eval` that look at samples, or at labels."""

from __future__ import annotations

from typing import Annotated

from charrnn.cli.options import FLOAT, INTEGER, TEXT, option, switch

NOVELTY = "Novelty"
LABELS = "Labels"

Samples = Annotated[
    int | None,
    option(
        "--samples",
        help="Draw this many samples and say what is new in them and what is copied",
        metavar=INTEGER,
        default="none",
        panel=NOVELTY,
    ),
]
Temp = Annotated[
    float | None,
    option(
        "--temp", help="Temperature of the samples", metavar=FLOAT, default="0.8", panel=NOVELTY
    ),
]
Length = Annotated[
    int | None,
    option(
        "--length",
        help="Most characters of a sample",
        metavar=INTEGER,
        default="500; for a line 1000",
        panel=NOVELTY,
    ),
]
Seed = Annotated[
    int | None,
    option("--seed", help="Seed of the samples", metavar=INTEGER, default="1", panel=NOVELTY),
]
ByLabel = Annotated[
    bool,
    switch("--by-label", help="Score the lines of each label, beside counting", panel=LABELS),
]
Classify = Annotated[
    bool,
    switch(
        "--classify",
        help="Find the label that makes each line likeliest; show accuracy and confusion",
        panel=LABELS,
    ),
]
Prior = Annotated[
    str | None,
    option(
        "--prior",
        help="With --classify: favour frequent labels (count), or none (flat)",
        choices=("count", "flat"),
        metavar=TEXT,
        default="count",
        panel=LABELS,
    ),
]
