"""The fixture of this folder."""

import pytest
from browser_support import launch


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as driver:
        shown = launch(driver)
        yield shown
        shown.close()
