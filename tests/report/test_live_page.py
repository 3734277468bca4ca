"""live.html while a training goes on: what it shows, that it is only a page, and that it ends."""

from pathlib import Path

from support import FEW, Watcher

from charrnn import events
from charrnn.api.listening import Listening
from charrnn.api.live import LIVE_PAGE, LivePage
from charrnn.report.live import MOST_POINTS, Live, live_page
from charrnn.training.session import Request, train

HOSTILE = "</pre><script>alert(1)</script>\u202e\x00"


def test_a_page_shows_scores_samples_and_the_time_left():
    live = Live("names", step=20, total_steps=100, chars_per_s=1234.0, seconds_left=75.0)
    live.learn(10, 3.5)
    live.learn(20, float("nan"))
    live.scored.append((20, 2.75))
    live.write(20, "Ada")
    page = live_page(live).decode()
    assert (
        "step 20 of 100, best 2.750 bits per character, 1,234 characters a second, 1:15 left"
        in page
    )
    assert 'http-equiv="refresh"' in page and "<pre>Ada</pre>" in page
    assert page.count("<circle") == 1 and "nan" not in page


def test_an_ended_page_refreshes_itself_no_longer():
    assert b"refresh" not in live_page(Live("x", end="done"))


def test_what_a_network_writes_is_no_markup():
    live = Live(HOSTILE)
    live.write(1, HOSTILE)
    page = live_page(live).decode()
    assert "<script" not in page and "\u202e" not in page and "\x00" not in page
    assert "default-src 'none'" in page


def test_a_long_curve_stays_small():
    live = Live("x")
    for step in range(10 * MOST_POINTS):
        live.learn(step, 2.0)
    assert len(live.learnt) <= MOST_POINTS and live.learnt[-1][0] == 10 * MOST_POINTS - 1


def test_a_full_disk_costs_the_page_alone(tmp_path):
    page = LivePage()
    page.on_start(events.Start(tmp_path / "no such folder" / "x", {}, 0))
    page.on_end(events.End(tmp_path, "done", 1, 1, 1.0))


def test_a_training_with_a_page_writes_the_same_other_files(tmp_path, one_thread):
    corpus = tmp_path / "few.txt"
    corpus.write_text("".join(f"{name}\n" for name in FEW))
    settings = {"hidden_size": 4, "embedding_size": 3, "num_layers": 1, "steps": 3, "threads": 1}
    runs = []
    for name, callbacks in (("a", []), ("b", [LivePage()])):
        request = Request(str(corpus), (("--", settings),), run=tmp_path / name)
        run, _ = train(request, Listening(Watcher(), callbacks))
        runs.append(Path(run))
    files = [{path.name for path in run.iterdir()} for run in runs]
    assert files[1] - files[0] == {LIVE_PAGE} and not files[0] - files[1]
    plain, paged = (run / "model.safetensors" for run in runs)
    assert plain.read_bytes() == paged.read_bytes()
    assert b"done" in (runs[1] / LIVE_PAGE).read_bytes()
