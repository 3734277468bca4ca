"""One HTML file out of what contents.py gathered. It loads nothing, and no content can be code.

The contents go in as JSON that the page's own script turns into text nodes. A
Content-Security-Policy admits that script and that style sheet, by their hashes, and nothing else:
no request, no image, no inline style, no other script. What the contents mean is not known here.
"""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from charrnn.storage import json_line

SCRIPTS = (
    "dom.js",
    "charts.js",
    "viewer.js",
    "lookback.js",
    "page.js",
)  # in this order, as one script
# Categories of characters that cannot be seen, or that move those around them: control, format
# (bidi, joiners), line and paragraph separators, surrogates, private use, unassigned.
_UNSEEN = ("Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn")
_IN_SCRIPT = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="\
default-src 'none'; connect-src 'none'; base-uri 'none'; form-action 'none'; \
script-src 'sha256-{script_hash}'; style-src 'sha256-{style_hash}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>charrnn report</title>
<style>{style}</style>
</head>
<body>
<noscript>\
This page draws itself with its own script; nothing is loaded. Allow scripts to see it.\
</noscript>
<script type="application/json" id="contents">{contents}</script>
<script>{script}</script>
</body>
</html>
"""


def page(contents: Mapping[str, Any]) -> bytes:
    """The page in UTF-8. contents: strict JSON, its strings as anybody wrote them."""
    style = _resource("page.css")
    script = "".join(_resource(name) for name in SCRIPTS)
    data = json_line(legible(contents)).translate(_IN_SCRIPT)
    return _PAGE.format(
        style=style,
        script=script,
        contents=data,
        style_hash=_digest(style),
        script_hash=_digest(script),
    ).encode()


def legible(value: Any) -> Any:
    """Write every unseen character of every string in a value as an escape such as `\\x00`."""
    if isinstance(value, str):
        if value.isascii() and value.isprintable():
            return value
        return "".join(_escaped(char) for char in value)
    if isinstance(value, dict):
        return {legible(key): legible(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [legible(item) for item in value]
    return value


def _escaped(char: str) -> str:
    if char in "\n\t" or unicodedata.category(char) not in _UNSEEN:
        return char
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
