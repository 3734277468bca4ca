"""Pages of reports in a headless Chromium: what the tests of this folder share."""

import os
import shutil
from pathlib import Path

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
REQUIRED = os.environ.get("BROWSER_TESTS") == "required" or bool(os.environ.get("CI"))
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and not REQUIRED, reason="no Chromium here; .ci/run installs one"
)

SCRIPT = "<script>window.injected = 1; alert(1)</script>"
CONTRAST = Path(__file__).with_name("contrast.js").read_text()
# What a text could hold to break out of a page, steer it, or hide in it.
HOSTILE = (
    f"{SCRIPT}</script></textarea></style>-->]]>\"' onload='alert(1)' "
    "<img src=x onerror=alert(1)> &lt; &amp;amp;"
    "\u2028\u2029 \x00\x1b[31m \u202egnp.exe\u202c \u2066x\u2069 "
    "\u200b\ufeff e\u0301 \U000e0041 😀 א\n"
)
