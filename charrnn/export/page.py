"""`charrnn export --html`: one page that holds a model and writes with it, from a memory stick."""

from __future__ import annotations

import dataclasses
from typing import Any

from charrnn import __version__
from charrnn.export.model import check_pageable, packed_model
from charrnn.export.shell import resource, shell
from charrnn.modelfile import ModelFile

# In this order, as one script; a page about a run adds its own.
ENGINE = ("dom.js", "engine.js", "draw.js", "counting.js", "codec.js", "writer.js")
BOX = ("likeliest.js", "inside.js", "box.js")
STYLES = ("base.css", "box.css")


def page_of(model: ModelFile, *, weights: str = "auto", with_filter: bool = True) -> bytes:
    """Return a page with a network in it. Raises SettingsError for a model that counts."""
    check_pageable(model, "--html")
    packed = packed_model(model, weights=weights, with_filter=with_filter)
    scripts = [resource(__package__, name) for name in (*ENGINE, *BOX, "page.js")]
    styles = [resource(__package__, name) for name in STYLES]
    return shell("charrnn", styles, scripts, {"model": packed, "about": _about(model)})


def _about(model: ModelFile) -> dict[str, Any]:
    """Return what the page says of the model beside the box."""
    name = model.path.stem if model.run is None else model.run.resolve().name
    parameters = sum(value.size for value in model.tensors.values())
    facts = [["weights", f"{parameters:,}"], ["characters it knows", f"{len(model.vocabulary):,}"]]
    if model.step is not None:
        facts.append(["training steps", f"{model.step:,}"])
    if model.ally is not None:
        order = model.ally.contexts.order
        facts.append(["beside it", f"n-grams of up to {order} characters, mixed in by a gate"])
    if model.vocabulary.labels:
        facts.append(["labels", f"{len(model.vocabulary.labels):,}"])
    settings = dataclasses.asdict(model.settings.model)
    return {
        "title": name or "charrnn",
        "version": __version__,
        "facts": facts,
        "settings": [[key, str(value)] for key, value in settings.items()],
    }
