"""One HTML file of a style sheet, scripts and data. It loads nothing, and no data can be code.

Data go in as JSON that the page's own script turns into text nodes. A Content-Security-Policy
admits that script and that style sheet, by their hashes, and nothing else: no request, no image, no
inline style, no other script. What the data mean is not known here.
"""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from charrnn.storage import json_line

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
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<noscript>\
This page draws itself with its own script; nothing is loaded. Allow scripts to see it.\
</noscript>
{data}
<script>{script}</script>
</body>
</html>
"""
_DATA = '<script type="application/json" id="{name}">{json}</script>'


def shell(title: str, styles: list[str], scripts: list[str], data: Mapping[str, Any]) -> bytes:
    """Return the page in UTF-8.

    title: ours. styles, scripts: each joined in this order. data: strict JSON by the id of its
    element, its strings as anybody wrote them.
    """
    style = "".join(styles)
    script = "".join(scripts)
    elements = [
        _DATA.format(name=name, json=json_line(legible(value)).strip().translate(_IN_SCRIPT))
        for name, value in data.items()
    ]
    return _PAGE.format(
        title=title,
        style=style,
        script=script,
        data="\n".join(elements),
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


def resource(package: str, name: str) -> str:
    """Return a script or a style sheet of a room."""
    return files(package).joinpath(name).read_text("utf-8")


def _escaped(char: str) -> str:
    if char in "\n\t" or unicodedata.category(char) not in _UNSEEN:
        return char
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
