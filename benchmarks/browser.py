"""How fast an exported page writes in a headless Chromium: characters a second, the best of five.

    python benchmarks/browser.py

Needs playwright and Chromium. The longest slice is the time in which the page answers no key. Then
a person types while 10,000 characters are written: the longest tasks, with layout and painting, in
processor time.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, sync_playwright

from charrnn.config import Settings
from charrnn.export.page import page_of
from charrnn.layout import expected_shapes
from charrnn.modelfile import ModelFile
from charrnn.text.vocabulary import Vocabulary

SHAPES = ((1, 256), (2, 384))
ROUNDS = 5
SYMBOLS = (10, *range(32, 96))
WRITE = """async (length) => {
  const machine = machineOf(model);
  const how = { temperature: 0.8, topK: 0, topP: 1, minP: 0 };
  const story = new Story(machine, [], 1, 0);
  while (story.drawn < 50) story.advance(how, 50);
  const begun = performance.now();
  let first = 0;
  let longest = 0;
  let before = begun;
  await new Promise((done) => inSlices(() => {
    const goesOn = story.advance(how, 50 + length);
    first = first || performance.now() - begun;
    return goesOn;
  }, () => {
    longest = Math.max(longest, performance.now() - before);
    before = performance.now();
  }, done));
  return [length / ((performance.now() - begun) / 1000), first, longest];
}"""


def network(layers: int, hidden: int) -> ModelFile:
    """Return a GRU with random weights."""
    sizes = {"hidden_size": hidden, "num_layers": layers, "embedding_size": 32}
    settings = Settings().with_values("model", cell="gru", **sizes)
    rng = np.random.default_rng(1)
    shapes = expected_shapes(settings.model, len(SYMBOLS))
    tensors = {
        name: rng.normal(0, 0.05, shape).astype(np.float32) for name, shape in shapes.items()
    }
    return ModelFile(Path("x"), settings, Vocabulary("char", SYMBOLS), "stream", 0, tensors, {})


def longest_tasks(browser: Browser, place: Path) -> list[float]:
    """Return the milliseconds of the three longest tasks of the page while a person types."""
    page = browser.new_page()
    page.goto(place.as_uri())
    page.locator("#box-count").fill("10000")
    browser.start_tracing(page=page, categories=["toplevel", "__metadata"])
    page.get_by_role("button", name="Write").click()
    page.locator("#box-begin").press_sequentially("to be or not to be", delay=50)
    page.locator("#box-out[aria-busy=false]").wait_for(timeout=600_000)
    page.locator("#box-begin").press_sequentially("that is the question", delay=50)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    page.close()
    threads = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    # A task and the work in it are two events of nearly one length; the task's name says so.
    tasks = [
        event["tdur"] / 1000
        for event in events
        if event["name"].endswith("RunTask") and (event["pid"], event["tid"]) in threads
    ]
    return sorted(tasks, reverse=True)[:3]


def main() -> None:
    """Measure both shapes by turns."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        pages = []
        for layers, hidden in SHAPES:
            place = Path(folder) / f"{layers}x{hidden}.html"
            place.write_bytes(page_of(network(layers, hidden)))
            page = browser.new_page()
            page.goto(place.as_uri())
            pages.append(page)
        results: list[list[list[float]]] = [[] for _ in SHAPES]
        for _ in range(ROUNDS):
            for page, rows in zip(pages, results, strict=True):
                rows.append(page.evaluate(WRITE, 300))
        for (layers, hidden), rows in zip(SHAPES, results, strict=True):
            best = max(row[0] for row in rows)
            first, longest = (min(row[k] for row in rows) for k in (1, 2))
            print(
                f"{layers}x{hidden}: {best:,.0f} characters/s, first after {first:.1f} ms, "
                f"longest slice {longest:.0f} ms"
            )
        place.write_bytes(page_of(network(1, 16)))
        tasks = ", ".join(f"{task:.0f}" for task in longest_tasks(browser, place))
        print(f"1x16, 10,000 characters: the longest tasks take {tasks} ms of processor time")
        browser.close()


if __name__ == "__main__":
    main()
