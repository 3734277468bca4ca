"""The fixtures of this folder."""

from pathlib import Path

import pytest
from browser_support import launch

from charrnn.export.page import page_of


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as driver:
        shown = launch(driver)
        yield shown
        shown.close()


@pytest.fixture
def opened(browser, tmp_path):
    """opened(model or place of a page, ...) -> the page, with all it said and asked for in
    page.heard.
    """
    contexts = []

    def open_page(what, width=1280, scheme="light", **more):
        place = what
        if not isinstance(what, Path):
            place = tmp_path / "page.html"
            place.write_bytes(page_of(what, **more))
        size = {"width": width, "height": 900}
        context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.new_page()
        page.heard = []
        page.on("console", lambda message: page.heard.append(message.text))
        page.on("pageerror", lambda error: page.heard.append(str(error)))
        page.on("dialog", lambda dialog: (page.heard.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: page.heard.append(request.url))
        page.goto(place.as_uri())
        assert page.heard == [place.as_uri()]
        page.heard.clear()
        return page

    yield open_page
    for context in contexts:
        context.close()
