"""charrnn, run by torchrun, whose processes kill themselves where the plan in KILLS says.

KILLS: a file of JSON, [[rank, where, times], ...], one entry for each life of the group.
"""

import json
import os
import signal
import sys
from pathlib import Path

from launch_support import children_of, rank_of

from charrnn.cli.main import main
from charrnn.training.checkpoint import RunDirectory
from charrnn.training.following import Follower
from charrnn.training.loop import Trainer

PLACES = {
    "step": [(Trainer, "train_step"), (Follower, "step")],
    "saving": [(RunDirectory, "save"), (Follower, "gather")],
    "saved": [(RunDirectory, "save"), (Follower, "gather")],
    "evaluation": [(Trainer, "_evaluate"), (Follower, "read")],
}


def kill(rank):
    pids = [os.getpid(), *children_of(os.getppid())]
    os.kill(next(pid for pid in pids if rank_of(pid) == rank), signal.SIGKILL)


def arm(rank, where, times):
    """Let the n-th call of a place be the last thing that process does."""
    for owner, name in PLACES[where]:
        is_here = owner is not Follower or rank == int(os.environ["RANK"])
        if not is_here or (owner is not Follower and rank):
            continue
        original = getattr(owner, name)
        calls = []

        def armed(self, *arguments, original=original, calls=calls):
            calls.append(None)
            if len(calls) == times and where != "saved":
                kill(rank)
            result = original(self, *arguments)
            if len(calls) == times and where == "saved":
                kill(rank)
            return result

        setattr(owner, name, armed)


if __name__ == "__main__":
    plan = json.loads(Path(os.environ["KILLS"]).read_text())
    life = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    if life < len(plan):
        arm(*plan[life])
    sys.argv[0] = "charrnn"
    main()
