"""What axe-core finds wrong with a page for people who see, hear or move otherwise."""

import importlib.resources

import pytest

# Width, colour scheme and medium.
MEDIA = {
    "light": (1280, "light", "screen"),
    "dark": (1280, "dark", "screen"),
    "phone": (390, "light", "screen"),
    "print": (703, "light", "print"),
}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN = """async (rules) => {
  const { violations } = await axe.run(document, { runOnly: rules });
  return violations.map((one) => `${one.id}: ${one.nodes[0].html.slice(0, 120)}`);
}"""


def violations(browser, place, medium, use=lambda page: None):
    """What axe finds on a page that is opened in a medium, and used.

    Contrast of text in pictures it cannot measure: tests/report/contrast.js does.
    """
    package = pytest.importorskip("axe_playwright_python")
    script = importlib.resources.files(package).joinpath("axe.min.js").read_text()
    width, scheme, shown_on = MEDIA[medium]
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(place.as_uri())
    use(page)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.emulate_media(media=shown_on)
    if shown_on == "print":
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.evaluate(f"{script}; 0")  # by the debugger, which no policy of the page binds
    found = page.evaluate(RUN, RULES)
    context.close()
    return found
