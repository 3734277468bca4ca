"""A race: contenders take turns in one process, in an order that rotates from round to round."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

Run = Callable[[], tuple[float, float]]  # -> steps done, characters predicted


@dataclass
class Taken:
    """What a contender took, an item for each round."""

    seconds: list[float] = field(default_factory=list)  # per step
    per_char: list[float] = field(default_factory=list)  # seconds
    faults: list[float] = field(default_factory=list)  # minor page faults per step


def race(runs: dict[str, Run], rounds: int) -> dict[str, Taken]:
    """Run all contenders in each round and return what each took."""
    taken = {name: Taken() for name in runs}
    for number in range(rounds):
        names = list(runs)
        first = number % len(names)
        for name in names[first:] + names[:first]:
            faults = minor_faults()
            began = time.perf_counter()
            steps, chars = runs[name]()
            elapsed = time.perf_counter() - began
            taken[name].seconds.append(elapsed / steps)
            taken[name].per_char.append(elapsed / chars)
            taken[name].faults.append((minor_faults() - faults) / steps)
    return taken


def minor_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def median_ratio(others: list[float], times: list[float]) -> float:
    """Return the median over rounds of others / times.

    A ratio is taken within a round, so a slow moment of the machine hits both sides.
    """
    return statistics.median(other / own for other, own in zip(others, times, strict=True))


def show(title: str, taken: dict[str, Taken], reference: str, floors: dict[str, str]) -> None:
    """Print a table of what the contenders took. floors: titles of columns, and who is 100 %."""
    floors = {column: name for column, name in floors.items() if name in taken}
    columns = ["ms per step", "x plain nn.X", *floors, "page faults per step", "chars/s"]
    print_head(*columns, title=title)
    for name, own in taken.items():
        speed = median_ratio(taken[reference].per_char, own.per_char)
        shares = [median_ratio(taken[floor].seconds, own.seconds) for floor in floors.values()]
        print_row(
            name,
            f"{1000 * statistics.median(own.seconds):.2f}",
            f"{speed:.2f}",
            *(f"{share:.0%}" for share in shares),
            f"{statistics.median(own.faults):,.0f}",
            f"{1 / statistics.median(own.per_char):,.0f}",
        )


def print_head(*columns: str, title: str) -> None:
    print(f"\n| {' | '.join([title, *columns])} |\n|---{'|---:' * len(columns)}|")


def print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)
