"""What torchrun tells a process of itself, read from its environment, without torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

UNNAMED = "none"  # what torchrun calls a launch that nobody named


@dataclass(frozen=True)
class Launch:
    """One process among those that torchrun has started.

    rank: its number among all, of `world`; local_rank: on this machine, of local_world.
    name: of the launch, the same after every restart.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int
    name: str

    @property
    def threads(self) -> int:
        """Return the threads of a process, where all on this machine share its cores."""
        return max(1, cores() // self.local_world)


def launch_of(environment: Mapping[str, str]) -> Launch | None:
    """Return how torchrun has started this process; None if it has not."""
    if "TORCHELASTIC_RUN_ID" not in environment:
        return None
    name = environment["TORCHELASTIC_RUN_ID"]
    if name == UNNAMED:  # torchrun itself lives on while its processes are restarted
        name = f"{name}-{os.getppid()}"
    return Launch(
        rank=int(environment["RANK"]),
        world=int(environment["WORLD_SIZE"]),
        local_rank=int(environment["LOCAL_RANK"]),
        local_world=int(environment["LOCAL_WORLD_SIZE"]),
        name=name,
    )


def is_follower(environment: Mapping[str, str]) -> bool:
    """Return whether torchrun has started this process beside another on this machine.

    That one says what is wrong with the words that all were started with.
    """
    return "TORCHELASTIC_RUN_ID" in environment and environment.get("LOCAL_RANK", "0") != "0"


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
