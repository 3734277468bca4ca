"""The fixture of this folder."""

import pytest
from page_support import CHROMIUM, REQUIRED


@pytest.fixture(scope="module")
def browser():
    sync_api = (
        pytest.importorskip("playwright.sync_api")
        if not REQUIRED
        else __import__("playwright.sync_api").sync_api
    )
    with sync_api.sync_playwright() as driver:
        shown = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield shown
        shown.close()
