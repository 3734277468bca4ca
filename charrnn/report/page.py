"""One HTML file out of what contents.py gathered: its style sheets and scripts, and their order.

What the contents mean is not known here, nor how a page is made safe: see export/shell.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from charrnn.export.page import BOX, ENGINE, STYLES
from charrnn.export.shell import resource, shell

SCRIPTS = ("charts.js", "viewer.js", "lookback.js", "glossary.js", "parts.js", "page.js")
OF_COMPARISON = ("charts.js", "glossary.js", "parts.js", "intervals.js", "comparison.js")


def page(contents: Mapping[str, Any]) -> bytes:
    """The page in UTF-8. contents: strict JSON, its strings as anybody wrote them."""
    room = "charrnn.export"
    styles = [*(resource(room, name) for name in STYLES), resource(__package__, "page.css")]
    scripts = [resource(room, name) for name in (*ENGINE, *BOX)]
    scripts += [resource(__package__, name) for name in SCRIPTS]
    return shell("charrnn report", styles, scripts, {"contents": contents})


def comparison_page(contents: Mapping[str, Any]) -> bytes:
    """The page of a comparison, likewise. contents: strict JSON."""
    styles = [resource("charrnn.export", "base.css")]
    styles += [resource(__package__, name) for name in ("page.css", "comparison.css")]
    scripts = [resource("charrnn.export", "dom.js")]
    scripts += [resource(__package__, name) for name in OF_COMPARISON]
    return shell("charrnn report", styles, scripts, {"contents": contents})
