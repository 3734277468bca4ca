"""The page of `charrnn report` in a headless Chromium: silent, self-contained and readable."""

import json

import pytest
from page_support import CONTRAST, HOSTILE, SCRIPT, needs_chromium
from support import FEW, Watcher
from wcag import MEDIA, violations

from charrnn.modelfile import read_model
from charrnn.report.contents import gather
from charrnn.report.page import page as page_of
from charrnn.report.viewer import viewer
from charrnn.scoring.text import text_of_split
from charrnn.texts import OpenedRun
from charrnn.training.session import Request, train

pytestmark = [
    pytest.mark.medium,
    needs_chromium,
    pytest.mark.usefixtures("one_thread"),
]
SETTINGS = {
    "cell": "lstm",
    "hidden_size": 5,
    "embedding_size": 4,
    "num_layers": 2,
    "steps": 12,
    "batch_size": 2,
    "seq_length": 16,
    "mode": "stream",
    "sample_every": "4",
    "eval_every": "3",
    "lr": 0.05,
    "threads": 1,
    "clip": 0.3,
    "dropout": 0.0,
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run whose text, name, samples and command try to get out, with its metrics cut off."""
    folder = tmp_path_factory.mktemp("hostile")
    text = folder / "<img src=x onerror=alert(1)>.txt"
    text.write_text(HOSTILE * 60)
    run, _ = train(
        Request(str(text), (("--", SETTINGS),), run=folder / "r<script>alert(1)<"),
        Watcher(),
        lambda *_: HOSTILE * 2,
    )
    about = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(about | {"command": ["charrnn", "train", HOSTILE]}))
    with open(run / "metrics.jsonl", "ab") as file:
        file.write(
            b'{"event":"rollback","step":3,"from_step":5,"reason":"</script>'
            + SCRIPT.encode()
            + b'"}\n{"step":1'
        )
    model = read_model(run)
    contents = gather(OpenedRun(model), lambda text: None)
    contents["novelty"]["verdict"] = HOSTILE
    # So small a network has found nothing: two cells stand for those that a real one finds.
    common = {"score": "+0.90", "luck": "0.10", "accuracy": "90 %"}
    tracking = [
        {"title": HOSTILE, "array": "layer1.forget", "unit": 3, "place": HOSTILE, **common},
        {"title": "in quotes", "array": "layer0.cell", "unit": 4, "place": "layer 0", **common},
    ]
    contents["cells"] |= viewer(model, text_of_split(OpenedRun(model), None), tracking)
    place = run / "report.html"
    place.write_bytes(page_of(contents))
    return place


@pytest.fixture
def opened(browser, hostile):
    """opened(width=..., scheme=...) -> the page, with all it said and asked for in page.heard."""
    contexts = []

    def open_page(width=1280, scheme="light"):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.heard = []
        page.on("console", lambda message: page.heard.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: page.heard.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (page.heard.append("dialog"), dialog.dismiss()))
        page.on(
            "requestfailed",
            lambda request: page.heard.append(f"failed: {request.url} {request.failure}"),
        )
        page.on("request", lambda request: page.heard.append(f"request: {request.url}"))
        page.goto(hostile.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


def test_a_hostile_text_injects_nothing_and_nothing_leaves_the_page(opened, hostile):
    page = opened()
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    for button in page.locator(".viewer button").all():
        button.click()
    assert page.heard == [f"request: {hostile.as_uri()}"]
    assert page.evaluate("window.injected") is None
    tags = set(
        page.evaluate(
            "[...document.body.querySelectorAll('*')].map((each) => each.tagName.toLowerCase())"
        )
    )
    assert not tags & {
        "img",
        "iframe",
        "object",
        "embed",
        "style",
        "link",
        "base",
        "form",
    }
    assert page.locator("textarea").count() == 1  # the box's own
    assert page.locator("script").count() == 2
    attributes = page.evaluate(
        "[...document.querySelectorAll('body *')].flatMap((each) => each.getAttributeNames())"
    )
    assert not [
        name for name in attributes if name.startswith("on") or name in ("src", "srcdoc", "action")
    ]
    links = page.evaluate(
        "[...document.querySelectorAll('a')].map((each) => each.getAttribute('href'))"
    )
    assert links and all(link.startswith("#") for link in links)
    shown = page.inner_text("body")
    assert SCRIPT in shown and "</textarea>" in shown and "<img src=x onerror=alert(1)>" in shown
    for escape in (
        r"\x00",
        r"\x1b[31m",
        r"\u202egnp.exe\u202c",
        r"\u2066",
        r"\u2028",
        r"\u200b",
        r"\ufeff",
        r"\U000e0041",
    ):
        assert escape in shown, escape
    assert not set(page.text_content("html")) & set(
        "\x00\x1b\u202e\u202c\u2066\u2069\u2028\u2029\u200b\ufeff"
    )


def test_nothing_can_be_fetched_or_run_even_by_the_pages_own_script(opened):
    page = opened()
    page.evaluate("""
        window.refused = [];
        addEventListener("securitypolicyviolation",
            (event) => refused.push(event.effectiveDirective));
        fetch("https://example.org/").catch(() => {});
        new Image().src = "https://example.org/x.png";
        const script = document.createElement("script"), styled = document.createElement("p");
        script.textContent = "window.injected = 1";
        styled.setAttribute("style", "color: red");
        document.body.append(script, styled);
    """)
    page.wait_for_function("refused.length >= 4")
    wanted = {"connect-src", "img-src", "script-src-elem", "style-src-attr"}
    assert set(page.evaluate("refused")) == wanted and page.evaluate("window.injected") is None
    asked = [each for each in page.heard if each.startswith("request: https://example.org")]
    refused = [each for each in page.heard if each.startswith("failed: https://example.org")]
    assert len(refused) == len(asked) and all(each.endswith(" csp") for each in refused)


def test_every_chart_answers_to_keys_hover_and_click(opened):
    page = opened()
    titles = page.locator(".chart h3").all_inner_texts()
    assert [title.split()[0] for title in titles] == ["Loss", "Learning", "Gradient", "Clipped"]
    assert page.locator(".chart svg[role=img][aria-label]").count() == 4
    for chart in page.locator(".chart").all():
        reader, where = chart.locator("[role=slider]"), chart.locator(".where")
        reader.focus()
        page.keyboard.press("Home")
        first = where.inner_text()
        assert reader.get_attribute("aria-valuenow") == "0"
        page.keyboard.press("ArrowRight")
        second = where.inner_text()
        assert second != first and second in reader.get_attribute("aria-valuetext")
        box = reader.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.98, box["y"] + box["height"] / 2)
        assert where.inner_text() == "at step 12"
        page.mouse.move(2, 2)
        assert where.inner_text() == second  # a pointer that passes by moves nothing
        page.mouse.click(box["x"] + box["width"] * 0.98, box["y"] + box["height"] / 2)
        page.mouse.move(2, 2)
        assert where.inner_text() == "at step 12"
    page.keyboard.press("Home")
    assert len(set(page.locator(".chart .where").all_inner_texts())) == 1  # they are read together


def test_the_numbers_of_a_chart_are_those_of_the_run(opened, hostile):
    page = opened()
    records = [
        json.loads(line)
        for line in (hostile.parent / "metrics.jsonl").read_text().splitlines()[:-2]
    ]
    wanted = [
        round(each["val_bits_per_char"], 3) for each in records if each.get("event") == "eval"
    ]
    page.locator("#chart-loss summary").click()
    shown = page.locator("#chart-loss tbody td:last-child").all_inner_texts()
    assert [round(float(value), 3) for value in shown] == pytest.approx(wanted, abs=2e-3)


def test_the_viewer_answers_to_keys_hover_click_and_the_cells_found(opened):
    page = opened()
    panel, text = page.locator("#viewer-panel"), page.locator("#viewer-text")
    chars, read = text.locator(".char"), text.locator(".read")
    cells = page.evaluate("contents.cells")
    assert chars.count() == len(cells["ids"]) > 500

    def is_read(place):
        return (
            chars.nth(place).evaluate("each => each.classList.contains('read')")
            and read.count() == 1
        )

    text.focus()
    page.keyboard.press("Home")
    assert is_read(0) and "not predicted" in panel.inner_text()
    page.keyboard.press("ArrowRight")
    assert is_read(1) and f"{cells['bits'][1]:.4g} bits" in panel.inner_text()
    assert panel.locator("li").count() == 5
    shares = [float(share.split()[0]) for share in panel.locator("li span").all_inner_texts()]
    assert (
        shares
        == [round(share / 10, 1) for share in cells["shares"][5:10]]
        == sorted(shares, reverse=True)
    )
    page.keyboard.press("ArrowDown")
    assert not is_read(1)
    page.keyboard.press("ArrowUp")
    assert is_read(1)
    chars.nth(40).hover()
    assert is_read(40)
    page.mouse.move(2, 2)
    assert is_read(1)
    chars.nth(41).click()
    page.mouse.move(2, 2)
    assert is_read(41) and read.count() == 1
    page.locator("#viewer-position").focus()
    page.keyboard.press("ArrowRight")
    assert is_read(42)
    assert page.locator("#viewer-array").input_value() == "layer0.cell"  # a state before a gate
    page.locator(".viewer button").first.click()
    assert page.locator("#viewer-array").input_value() == "layer1.forget"
    assert page.locator("#viewer-unit").input_value() == "3"
    assert page.locator(".viewer button").first.get_attribute("aria-pressed") == "true"
    assert (
        text.locator(".warm, .cold").count() > 0
        and "closed" in page.locator(".viewer .scale").inner_text()
    )
    page.locator("#viewer-unit").focus()
    page.keyboard.press("ArrowUp")
    assert page.locator("#viewer-unit").input_value() == "4"
    page.locator("#viewer-array").select_option("")
    assert (
        page.locator("#viewer-unit").is_hidden()
        and "8 bits" in page.locator(".viewer .scale").inner_text()
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_of_wcag_aa(opened, scheme):
    page = opened(scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    backgrounds = set()
    for choice in ("layer1.forget", "layer0.cell", ""):
        page.locator("#viewer-array").select_option(choice)
        # The strongest colours there can be, too.
        page.evaluate(
            "document.querySelectorAll('.char').forEach((char, k) => "
            "{ if (k % 3) char.style.setProperty('--a', '1'); })"
        )
        texts = page.evaluate(CONTRAST)
        assert texts["seen"] > 800 and not texts["failed"], texts["failed"][:5]
        backgrounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 1 and ("252" in backgrounds.pop()) == (scheme == "light")


def test_a_phone_needs_no_sideways_scrolling_and_every_control_has_a_name(opened):
    page = opened(width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    unnamed = page.evaluate(
        "[...document.querySelectorAll('select, input, button, [role=slider], [role=group]')]"
        ".filter((each) => !(each.labels && each.labels.length) && !each.textContent.trim()"
        " && !each.getAttribute('aria-label'))"
        ".map((each) => each.outerHTML.slice(0, 80))"
    )
    assert unnamed == []
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].map((each) => Number(each.tagName[1]))"
    )
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in zip(levels, levels[1:], strict=False))
    assert [page.locator(name).count() for name in ("main", "header", "footer", "nav")] == [
        1,
        1,
        1,
        1,
    ]


def test_on_paper_it_is_light_without_controls_and_with_its_settings(opened):
    page = opened(scheme="dark")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("#viewer-array").is_hidden() and page.locator("#viewer-panel").is_hidden()
    assert (
        page.get_by_text("hidden_size").first.is_visible()
        and page.locator("#chart-loss svg").first.is_visible()
    )
    assert page.pdf(format="A4").startswith(b"%PDF")


@pytest.mark.parametrize("kind", ["ngram", "one evaluation", "nothing recorded"])
def test_runs_of_other_kinds_have_a_page_without_an_error(browser, tmp_path, kind):
    (tmp_path / "few.txt").write_text("".join(f"{name}\n" for name in FEW))
    settings = (
        {"cell": "ngram", "order": "2"}
        if kind == "ngram"
        else {**SETTINGS, "steps": 1, "mode": "lines"}
    )
    run, _ = train(
        Request(str(tmp_path / "few.txt"), (("--", settings),), run=tmp_path / "r"), Watcher()
    )
    if kind == "nothing recorded":
        (run / "metrics.jsonl").unlink()
        (run / "samples.txt").write_text(
            "--- step 1, nan bits per character ---\nAda\n"
        )  # as of a training that diverges
    if kind == "ngram":
        with open(run / "samples.txt", "ab") as file:
            file.truncate(1 << 27)  # more than is read
    place = tmp_path / "x.html"
    place.write_bytes(page_of(gather(OpenedRun(read_model(run)), lambda text: None)))
    page = browser.new_page()
    heard = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.goto(place.as_uri())
    assert (
        heard == []
        and page.locator("#viewer-text .char").count() > 10
        and page.locator("section").count() >= 4
    )
    assert page.get_by_text("larger than 64 MiB").count() == (kind == "ngram")
    charts = [
        chart.get_attribute("id")
        for chart in page.locator(".chart").all()
        if chart.locator("svg[role=img]").count()
    ]
    steps = ["chart-loss", "chart-rate", "chart-norm", "chart-clipped"]
    assert (
        charts == {"ngram": ["chart-orders"], "one evaluation": steps, "nothing recorded": []}[kind]
    )
    page.close()


@pytest.mark.parametrize("medium", MEDIA)
def test_axe_finds_no_fault(browser, hostile, medium):
    assert violations(browser, hostile, medium) == []
