"""How fast an exported page writes in a headless Chromium: characters a second, the best of five.

    python benchmarks/browser.py

Needs playwright and Chromium. The longest slice is the time in which the page answers no key.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

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
        browser.close()


if __name__ == "__main__":
    main()
