"""The options of `charrnn sample` that say how a character is drawn, and which texts are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from charrnn.cli.options import FLOAT, INTEGER, PATH, TEXT, option, switch

TEXTS = "Text"
RANDOMNESS = "Randomness"
CONSTRAINTS = "Constraints"

Prime = Annotated[
    str | None,
    option(
        "--prime",
        "--starts-with",
        "-p",
        help="Begin with this text",
        metavar=TEXT,
        default="none",
        panel=TEXTS,
    ),
]
PrimeFile = Annotated[
    Path | None,
    option(
        "--prime-file",
        help="Begin with the text of this file, or of standard input with -",
        metavar=PATH,
        default="none",
        panel=TEXTS,
    ),
]
Prompts = Annotated[
    Path | None,
    option(
        "--prompts",
        help="Write --count texts, as JSON, for each prompt in this file, or in standard input "
        "with -",
        metavar=PATH,
        default="none",
        panel=TEXTS,
    ),
]
Label = Annotated[
    list[str] | None,
    option(
        "--label",
        help="Write items of this label, or of all; may be repeated, and then in turn",
        metavar=TEXT,
        default="none",
        panel=TEXTS,
    ),
]
Temp = Annotated[
    float,
    option(
        "--temp",
        "-t",
        help="Temperature: 1 samples as learnt, lower is safer, 0 is always the likeliest",
        metavar=FLOAT,
        default="0.8",
        panel=RANDOMNESS,
    ),
]
TopK = Annotated[
    int,
    option(
        "--top-k",
        help="Draw from this many of the likeliest characters",
        metavar=INTEGER,
        default="0, all",
        panel=RANDOMNESS,
    ),
]
TopP = Annotated[
    float,
    option(
        "--top-p",
        help="Draw from the fewest characters that reach this probability together",
        metavar=FLOAT,
        default="1.0, all",
        panel=RANDOMNESS,
    ),
]
MinP = Annotated[
    float,
    option(
        "--min-p",
        help="Draw from characters with at least this share of the likeliest's probability",
        metavar=FLOAT,
        default="0.0, all",
        panel=RANDOMNESS,
    ),
]
RepetitionPenalty = Annotated[
    float,
    option(
        "--repetition-penalty",
        help="Above 1: make the last 64 characters less likely",
        metavar=FLOAT,
        default="1.0, off",
        panel=RANDOMNESS,
    ),
]
Seed = Annotated[
    int | None,
    option(
        "--seed",
        help="Equal seeds write equal texts",
        metavar=INTEGER,
        default="random, and shown",
        panel=RANDOMNESS,
    ),
]
Novel = Annotated[
    bool,
    switch(
        "--novel",
        help="Only texts that are surely not in the training text",
        panel=CONSTRAINTS,
    ),
]
Unique = Annotated[bool, switch("--unique", help="No text twice", panel=CONSTRAINTS)]
Matching = Annotated[
    str | None,
    option(
        "--matching",
        help="Only texts in which this Python regular expression is found",
        metavar=TEXT,
        default="none",
        panel=CONSTRAINTS,
    ),
]
Fill = Annotated[
    str | None,
    option(
        "--fill",
        help="Only texts of this form, in which _ is any character (the guide has more)",
        metavar=TEXT,
        default="none",
        panel=CONSTRAINTS,
    ),
]
MinLength = Annotated[
    int,
    option(
        "--min-length",
        help="Only texts with at least this many characters, the prompt included",
        metavar=INTEGER,
        default="0",
        panel=CONSTRAINTS,
    ),
]
MaxLength = Annotated[
    int | None,
    option(
        "--max-length",
        help="Only texts with at most this many characters, the prompt included",
        metavar=INTEGER,
        default="none",
        panel=CONSTRAINTS,
    ),
]
Rank = Annotated[
    bool,
    switch("--rank", help="The likeliest first, with bits per character", panel=CONSTRAINTS),
]
Tries = Annotated[
    int | None,
    option(
        "--tries",
        help="Most texts to draw for those that pass",
        metavar=INTEGER,
        default="1000 for each, at least 10,000",
        panel=CONSTRAINTS,
    ),
]
Likeliest = Annotated[
    int | None,
    option(
        "--likeliest",
        help="In place of drawing: the so many most probable texts, with their probability",
        metavar=INTEGER,
        default="none",
        panel=CONSTRAINTS,
    ),
]
