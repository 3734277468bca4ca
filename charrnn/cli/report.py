"""charrnn report: one HTML page about a run, to be opened from disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from charrnn.cli.chosen import read_chosen, say_chosen
from charrnn.cli.json_lines import write_json
from charrnn.cli.options import PATH, Device, Run, option, switch
from charrnn.cli.result_view import check_place
from charrnn.terminal import one_line, print_line, say

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
    """Write one HTML page about a run

    What it writes, a box to try it, how it learnt, what it reaches and what its cells follow. The
    page works offline.
    """
    if out is not None:
        check_place("--out", out)
    if pdf is not None:
        check_place("--pdf", pdf)

    from charrnn.machine.runtime import choose_device
    from charrnn.report.contents import gather
    from charrnn.report.page import page
    from charrnn.report.pdf import find_browser, printed
    from charrnn.storage import write_atomically
    from charrnn.texts import OpenedRun

    if device is not None:
        choose_device(device)  # refused before anything is scored
    browser = find_browser() if pdf is not None else ""
    model = read_chosen(run)
    say_chosen(run, model)
    place = out or _place(model)
    contents = gather(OpenedRun(model), say, device)
    data = page(contents)
    write_atomically(place, data, "--out")
    if pdf is not None:
        write_atomically(pdf, printed(browser, data), "--pdf")
    if json:
        about = {
            "run": str(model.path),
            "step": model.step,
            "report": str(place),
            "bytes": len(data),
            "splits": contents["results"]["splits"],
            "results": contents["results"]["rows"],
        }
        write_json([about])
    else:
        print_line(f"{one_line(str(place))}: {len(data) / 1e6:.1f} MB; open it in a browser")
        if pdf is not None:
            print_line(f"{one_line(str(pdf))}: {pdf.stat().st_size / 1e6:.1f} MB")


def _place(model: ModelFile) -> Path:
    """Return where the page goes: into its run, but not into what comes with charrnn."""
    from charrnn.report.contents import folder_of

    folder = folder_of(model)
    if model.is_pretrained:
        return Path(f"{folder.name}-report.html")
    return folder / "report.html"
