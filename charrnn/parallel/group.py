"""The processes of a launch as one group: they join, talk and add up gradients.

Tensors on a CPU go through gloo and those on a GPU through NCCL. What is said is JSON or float64.
A lost process closes its connections: whoever waits for it gets LostError, at once.

Shapes: W processes, N numbers of a gradient.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from charrnn.errors import CharrnnError, SettingsError
from charrnn.launch import Launch
from charrnn.parallel.tree import Part, added, share_of, tiles
from charrnn.terminal import one_line

WAIT = timedelta(hours=2)  # for one that is there: while process 0 counts, others wait
JOIN = timedelta(minutes=5)  # for all to be there
gather_all = getattr(dist, "all_gather_single", dist.all_gather_into_tensor)  # its name from 2.13
LOOK_S = 0.02  # between looks for the others, while joining


class LostError(CharrnnError):
    """A process of the group is gone."""

    def __init__(self) -> None:
        super().__init__(
            "a process of the group is gone; a training goes on from its last checkpoint with "
            "torchrun --max-restarts N, or with --resume"
        )


class ToldError(CharrnnError):
    """A fault of another process, which told of it."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Group:
    """The processes of a launch. rank 0 leads.

    stop_reason: a signal that this process got, which all will hear of.
    """

    def __init__(self, launch: Launch, *, is_ours: bool) -> None:
        """is_ours: the group ends with the training; a guest's host ends its own."""
        self.launch = launch
        self.rank = launch.rank
        self.world = launch.world
        self.stop_reason = ""
        self._is_ours = is_ours

    @property
    def is_leader(self) -> bool:
        """Whether this process shows, decides and writes."""
        return self.rank == 0

    def stop(self, signal_name: str) -> None:
        """Ask all to end after this step. Safe in a signal handler."""
        self.stop_reason = signal_name

    def leave(self, *, is_whole: bool) -> None:
        """End the group. is_whole: all are there, and leave together."""
        if self._is_ours:
            with contextlib.suppress(RuntimeError):
                if is_whole:
                    dist.barrier()
            with contextlib.suppress(RuntimeError):
                dist.destroy_process_group()

    # Words

    def tell(self, words: Any = None) -> Any:
        """Return what process 0 says to all: it passes words that JSON has."""
        return self._say(words, 0)

    def hear_all(self, words: Any) -> list[Any]:
        """Return what each process says, in their order."""
        return [self._say(words, rank) for rank in range(self.world)]

    def raise_fault(self, fault: Exception | None) -> None:
        """Raise, in all processes, the first fault that one of them has. All take part.

        fault: of this process. A process with a fault raises its own.
        """
        faults = self.hear_all(_words_of(fault))
        if fault is not None:
            raise fault
        for rank, words in enumerate(faults):
            if words is not None:
                raise ToldError(f"process {rank} of {self.world}: {words['text']}", words["code"])

    def _say(self, words: Any, rank: int) -> Any:
        data = json.dumps(words).encode() if rank == self.rank else b""
        size = int(self.numbers([float(len(data))], rank)[0])
        text = torch.zeros(size, dtype=torch.uint8)
        if rank == self.rank:
            text = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        self.share(text, rank)
        return json.loads(bytes(text.numpy()))

    # Numbers

    def numbers(self, values: Sequence[float], rank: int = 0) -> list[float]:
        """Return the float64 numbers of one process, process 0 by default.

        The others pass as many.
        """
        tensor = torch.tensor(values, dtype=torch.float64)
        self.share(tensor, rank)
        return [float(value) for value in tensor]

    def all_numbers(self, values: Sequence[float]) -> list[list[float]]:
        """Return the float64 numbers of each process, as many from each."""
        mine = torch.tensor(values, dtype=torch.float64)
        return [[float(value) for value in row] for row in self.gathered(mine)]

    def added(self, sums: Mapping[Part, Tensor], parts: int) -> Tensor:
        """Return the sum (N,) of all parts, added in the order of the tree.

        sums: (N,) each, of the tiles that this process has computed: share_of its rank.

        Each process adds its own W-th of the numbers, and then all get all of them. So about 2 N
        numbers go in and out of each process, as with an all-reduce, whatever W is.
        """
        whole = (0, parts)
        tiles_of = [
            list(tiles(*share_of(rank, self.world, parts), whole)) for rank in range(self.world)
        ]
        most = max(len(own) for own in tiles_of)
        any_sum = next(iter(sums.values()))
        numbers = any_sum.numel()
        size = -(-numbers // self.world)

        # 1. A W-th to each process: (W, most, size)
        out = any_sum.new_zeros(most, self.world * size)
        for row, tile in zip(out, tiles_of[self.rank], strict=False):
            row[:numbers] = sums[tile]
        out = out.view(most, self.world, size).transpose(0, 1).contiguous()
        inward = self._swapped(out)

        # 2. Added here
        known = {
            tile: inward[rank, place]
            for rank, own in enumerate(tiles_of)
            for place, tile in enumerate(own)
        }
        mine = added(whole, known.get)

        # 3. From all to all
        return self._collected(mine)[:numbers]

    def gathered(self, mine: Tensor) -> Tensor:
        """Return the numbers (N,) of all processes, (W, N)."""
        return self._collected(mine).view(self.world, len(mine))

    # What torch.distributed does

    def share(self, tensor: Tensor, rank: int = 0) -> None:
        """Copy one process's tensor into the others'. All have its shape."""
        if tensor.numel():
            with _loss_told():
                dist.broadcast(tensor, src=rank)

    def _swapped(self, rows: Tensor) -> Tensor:
        """Return, of each process in order, the row (W, ...) that is for this one."""
        received = torch.empty_like(rows)
        with _loss_told():
            dist.all_to_all_single(received, rows)
        return received

    def _collected(self, mine: Tensor) -> Tensor:
        """Return the numbers (N,) of all processes (W N,)."""
        mine = mine.contiguous()
        collected = mine.new_empty(self.world * len(mine))
        with _loss_told():
            gather_all(collected, mine)
        return collected


def join(launch: Launch) -> Group:
    """Join the other processes of this launch. Raises SettingsError where they cannot meet.

    A restart finds the keys of the processes before it in the same store, so each life of the group
    has a prefix of its own (pytorch#135712). torchrun's count of restarts is of one machine, and so
    is not used for it.
    """
    if torch.cuda.is_available() and launch.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(launch.local_rank)  # first of all: contexts are of this device
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        store, _, _ = next(iter(rendezvous("env://", timeout=JOIN)))
        life = _life(store, launch)
        dist.init_process_group(
            backend,
            store=PrefixStore(f"charrnn/{life}", store),
            rank=launch.rank,
            world_size=launch.world,
            timeout=WAIT,
        )
        torch.set_num_threads(launch.threads)  # torchrun has set one, in silence
        group = Group(launch, is_ours=True)
        group.all_numbers([0.0])  # gloo connects at the first use
    except (RuntimeError, ValueError, LostError) as error:
        raise SettingsError(
            f"the {launch.world} processes do not reach each other "
            f"({one_line(str(error).splitlines()[0])[:200]}); on one machine add "
            "--local-addr 127.0.0.1 to torchrun, on several set GLOO_SOCKET_IFNAME"
        ) from None
    return group


def _life(store: Store, launch: Launch) -> int:
    """Agree on the number of this life of the group, and return it.

    Process 0 counts it, waits for a token of each process and shows them. Whoever does not find its
    own token there sees the life of processes that are gone, and looks for the next.
    """
    if launch.rank == 0:
        life = store.add("charrnn/life", 1)
        keys = [f"charrnn/{life}/token/{rank}" for rank in range(1, launch.world)]
        tokens = [store.get(key).decode() for key in keys]
        store.set(f"charrnn/{life}/open", json.dumps(tokens))
        return int(life)
    token = uuid.uuid4().hex
    shown = 0
    while True:
        life = int(store.get("charrnn/life"))
        if life != shown:
            store.set(f"charrnn/{life}/token/{launch.rank}", token)
            shown = life
        key = f"charrnn/{life}/open"
        if store.check([key]) and token in json.loads(store.get(key)):
            return life
        time.sleep(LOOK_S)


def _words_of(fault: Exception | None) -> dict[str, Any] | None:
    """Return a fault as it is told to the others."""
    if fault is None:
        return None
    if isinstance(fault, CharrnnError):
        return {"text": str(fault), "code": fault.exit_code}
    if is_out_of_memory(fault):
        return {"text": "out of memory; try a smaller --batch-size or --hidden-size", "code": 2}
    return {"text": repr(fault), "code": 1}


def is_out_of_memory(fault: BaseException) -> bool:
    """Return whether this is how torch or Python says that memory has run out."""
    if isinstance(fault, MemoryError | torch.OutOfMemoryError):
        return True
    words = ("out of memory", "can't allocate memory")
    return isinstance(fault, RuntimeError) and any(word in str(fault) for word in words)


@contextlib.contextmanager
def _loss_told() -> Iterator[None]:
    """Raise LostError where torch says, in some words, that a process is gone."""
    try:
        yield
    except RuntimeError:
        raise LostError from None
