"""Groups whose processes are threads: the same code without a start of several seconds."""

import threading

import torch
from support import Watcher

from charrnn.launch import Launch
from charrnn.parallel.group import Group, LostError
from charrnn.training.session import Request, train
from charrnn.training.together import train_together

PROSE = (
    "A text of several lines,\n\nwith blank ones, so that it is a stream. "
    "It is 300 characters long or so.\n\n"
) * 4
SMALL = {
    "cell": "gru",
    "hidden_size": 9,
    "embedding_size": 5,
    "num_layers": 2,
    "batch_size": 8,
    "seq_length": 7,
    "lr": 0.02,
    "steps": 20,
    "save_every": "4",
    "eval_every": "13",
    "threads": 1,
    "patience": 0,
    "counting": "off",
}


class Meeting:
    """Where threads exchange tensors: each puts its own, and all see those of all."""

    def __init__(self, world):
        self.parts = [None] * world
        self.barrier = threading.Barrier(world, timeout=30)

    def exchange(self, rank, part):
        self.parts[rank] = part
        self._wait()
        parts = list(self.parts)
        self._wait()
        return parts

    def _wait(self):
        try:
            self.barrier.wait()
        except threading.BrokenBarrierError:
            raise LostError from None


class ThreadGroup(Group):
    """A process of a group, as a thread."""

    def __init__(self, rank, meeting):
        world = len(meeting.parts)
        super().__init__(Launch(rank, world, rank, world, "threads"), is_ours=False)
        self._meeting = meeting

    def share(self, tensor, rank=0):
        parts = self._meeting.exchange(self.rank, tensor.clone())
        assert parts[rank].shape == tensor.shape
        tensor.detach().copy_(parts[rank])

    def _swapped(self, rows):
        parts = self._meeting.exchange(self.rank, rows.clone())
        return torch.stack([part[self.rank] for part in parts])

    def _collected(self, mine):
        return torch.cat(self._meeting.exchange(self.rank, mine.clone()))

    def leave(self, *, is_whole):
        if not is_whole:
            self._meeting.barrier.abort()


def together(work, world):
    """What work(group) returns, or raises, on each of so many processes."""
    meeting = Meeting(world)
    results = [None] * world

    def run(rank):
        try:
            results[rank] = work(ThreadGroup(rank, meeting))
        except BaseException as error:
            results[rank] = error

    threads = [
        threading.Thread(target=run, args=(rank,), name=f"rank {rank}") for rank in range(world)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def trained(corpus, run, world, watcher=None, *, resume=False, words=(), more=None, **changes):
    """How a training on so many processes ended, in each."""
    settings = {} if resume else SMALL | changes
    request = Request(
        None if resume else str(corpus), (("--", settings),), run=run, resume=resume, **more or {}
    )

    def work(group):
        def lead():
            return train(request, watcher or Watcher(), None, group)

        return train_together(group, words, lead, is_guest=True)

    return together(work, world)


def on(rank):
    """Whether this is the process of that rank."""
    return threading.current_thread().name == f"rank {rank}"


def alone(corpus, run, watcher=None, *, resume=False, **changes):
    settings = {} if resume else SMALL | changes
    request = Request(None if resume else str(corpus), (("--", settings),), run=run, resume=resume)
    return train(request, watcher or Watcher())[1]
