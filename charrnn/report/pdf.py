"""A page printed to a PDF file, by the Chromium or Chrome that is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from charrnn.errors import SettingsError, StorageError
from charrnn.storage import write_atomically
from charrnn.terminal import one_line

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MOST_S = 120


def find_browser() -> str:
    """Return the path of a browser that prints. Raises SettingsError where there is none."""
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    raise SettingsError(
        "--pdf needs Chromium or Chrome, and none is found; open the page in a browser and print "
        "it to a file"
    )


def printed(browser: str, page: bytes) -> bytes:
    """Return a page as PDF. Raises StorageError where the browser does not print it."""
    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
        source = Path(folder) / "page.html"
        target = Path(folder) / "page.pdf"
        write_atomically(source, page, "--pdf")
        command = [browser, "--headless", "--disable-gpu", "--no-pdf-header-footer"]
        command += [f"--user-data-dir={folder}/profile", f"--print-to-pdf={target}"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--no-sandbox")  # Chromium has none for root
        try:
            subprocess.run([*command, source.as_uri()], capture_output=True, timeout=MOST_S)  # noqa: S603
            return target.read_bytes()
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StorageError(
                f"--pdf: {one_line(browser)} did not print the page ({type(error).__name__}); "
                "open the page in a browser and print it to a file"
            ) from None
