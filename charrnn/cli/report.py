"""charrnn report: one HTML page about a run or a comparison, to be opened from disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from charrnn.cli.chosen import read_chosen, say_chosen
from charrnn.cli.json_lines import write_json
from charrnn.cli.options import PATH, Device, Run, option, switch
from charrnn.cli.result_view import check_place
from charrnn.errors import SettingsError
from charrnn.terminal import one_line, print_line, say, size_of

if TYPE_CHECKING:
    from charrnn.modelfile import ModelFile


def report(
    run: Run = None,
    out: Annotated[
        Path | None,
        option(
            "--out",
            help="Write the page to this file",
            metavar=PATH,
            default="report.html in the run",
        ),
    ] = None,
    pdf: Annotated[
        Path | None,
        option(
            "--pdf",
            help="Print the page to this file too (needs Chromium or Chrome)",
            metavar=PATH,
            default="none",
        ),
    ] = None,
    device: Device = None,
    json: Annotated[
        bool, switch("--json", help="Print one JSON object on standard output")
    ] = False,
) -> None:
    """Write one HTML page about a run, or about a comparison

    What it writes, a box to try it, how it learnt, what it reaches and what its cells follow. Of a
    directory that charrnn compare wrote: curves, intervals, samples and verdict. The page works
    offline.
    """
    if out is not None:
        check_place("--out", out)
    if pdf is not None:
        check_place("--pdf", pdf)

    from charrnn.report.pdf import find_browser, printed
    from charrnn.storage import write_atomically

    browser = find_browser() if pdf is not None else ""
    comparison = _comparison(run)
    if comparison is not None:
        place, data, about = _of_comparison(comparison, out, device)
    else:
        place, data, about = _of_run(run, out, device)
    write_atomically(place, data, "--out")
    if pdf is not None:
        write_atomically(pdf, printed(browser, data), "--pdf")
    if json:
        write_json([{**about, "report": str(place), "bytes": len(data)}])
        return
    print_line(f"{one_line(str(place))}: {size_of(len(data))}; open it in a browser")
    if pdf is not None:
        print_line(f"{one_line(str(pdf))}: {size_of(pdf.stat().st_size)}")


def _of_run(
    run: Path | None, out: Path | None, device: str | None
) -> tuple[Path, bytes, dict[str, Any]]:
    """Return where the page of a run goes, the page, and what --json says of it."""
    from charrnn.machine.runtime import choose_device
    from charrnn.report.contents import gather
    from charrnn.report.page import page
    from charrnn.texts import OpenedRun

    if device is not None:
        choose_device(device)  # refused before anything is scored
    model = read_chosen(run)
    say_chosen(run, model)
    place = out or _place(model)
    contents = gather(OpenedRun(model), say, device)
    results = contents["results"]
    about: dict[str, Any] = {"run": str(model.path), "step": model.step}
    about |= {"splits": results["splits"], "results": results["rows"]}
    return place, page(contents), about


def _of_comparison(
    folder: Path, out: Path | None, device: str | None
) -> tuple[Path, bytes, dict[str, Any]]:
    """Return where the page of a comparison goes, the page, and what --json says of it."""
    from charrnn.report.comparison import gather_comparison
    from charrnn.report.page import comparison_page

    if device is not None:
        raise SettingsError("--device: nothing of a comparison is computed again; leave it out")
    contents = gather_comparison(folder)
    about = {"comparison": str(folder), "verdicts": contents["verdicts"]}
    return out or folder / "report.html", comparison_page(contents), about


def _comparison(run: Path | None) -> Path | None:
    """Return the directory of a comparison that is meant: a path, or a name under runs/."""
    from charrnn.lab.plan import PLAN
    from charrnn.modelfile import RUNS

    if run is None:
        return None
    if not run.exists() and len(run.parts) == 1:
        run = RUNS / run
    return run if (run / PLAN).is_file() else None


def _place(model: ModelFile) -> Path:
    """Return where the page goes: into its run, but not into what comes with charrnn."""
    from charrnn.report.contents import folder_of

    folder = folder_of(model)
    if model.is_pretrained:
        return Path(f"{folder.name}-report.html")
    return folder / "report.html"
