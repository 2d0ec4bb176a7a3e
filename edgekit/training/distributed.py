"""Training by several processes, started by torchrun, through Hugging Face Accelerate.

Accelerate 1.15.0 and Lightning Fabric 2.6.6 were both tried on torch 2.13 with two gloo
processes: 60 steps of AdamW with clipping and a schedule, stopped by SIGKILL and gone on with.
Both ended within 2e-7 of one process with the same global batch, and after the kill with the
same bits as without it. What decided:

- Accelerate gives torch's own `DistributedDataParallel`. Fabric wraps model and optimizer, and
  with mixed precision of its own it refuses `loss.backward()`.
- All that Accelerate needs comes with timm and torch already, but for PyYAML. Fabric brings
  aiohttp and seven packages more, which only reading from the network needs.
- Accelerate reads nodes and processes from torchrun's environment; Fabric has to be told both
  again.
- A second training in one process works with both as long as the group stays. With the group
  closed between them Fabric hung, Accelerate said so.

What speaks for Fabric: it is typed, it passes any argument to `DistributedDataParallel`, and its
settings belong to an object, where those of Accelerate belong to the process (the device cannot
change within one). Of Accelerate are not used: its data loaders (the trainer draws the order
itself, so that it does not depend on the number of processes), its prepared schedules (they step
once a process), and `save_state` (a folder of pickles, not written at once).
"""

from __future__ import annotations

import atexit
import os
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgekit.errors import ConfigError, EdgekitError, MissingToolError
from edgekit.training.processes import Processes, current_processes, using
from edgekit.training.synchronised_norms import synchronised_norms

if TYPE_CHECKING:
    from accelerate import Accelerator

_PATIENCE = timedelta(hours=2)
"""How long a process waits for the others: the first may evaluate or write in between."""


@contextmanager
def joined(device: str = "auto") -> Iterator[Processes]:
    """Joins the processes that torchrun started; trainings inside are divided among them.

    Started without torchrun, or by it as the only process, everything is as it is outside.

    Args:
        device: Where all trainings inside run: ``"cuda"``, one GPU a process; ``"cpu"``; or
            ``"auto"``, GPUs where there are enough of them.

    Raises:
        MissingToolError: If accelerate is not installed, or there are too few GPUs.
    """
    if not started_by_torchrun():
        yield current_processes()
        return
    processes = _Joined(_accelerator(device))
    with using(processes):
        yield processes


def started_by_torchrun() -> bool:
    """Whether this is one of several processes that torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _accelerator(device: str) -> Accelerator:
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
        from accelerate.utils import InitProcessGroupKwargs
    except ImportError as error:
        raise MissingToolError.for_extra(
            "accelerate", "train", "train by several processes"
        ) from error
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    wanted = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device == "cuda" and gpus < wanted:
        raise MissingToolError(
            f"{wanted} processes on this machine need as many GPUs, and torch finds {gpus}. Start "
            "fewer (torchrun --nproc-per-node) or train on the CPU (train.device = 'cpu')"
        )
    if not torch.distributed.is_initialized():
        atexit.register(_leave)
    return Accelerator(
        cpu=device == "cpu" or gpus < wanted,
        mixed_precision="no",  # the trainer's own, which is the same for one process
        kwargs_handlers=[
            # Running statistics are averaged at the end of an epoch instead; see `Processes`.
            DistributedDataParallelKwargs(broadcast_buffers=False, static_graph=True),
            InitProcessGroupKwargs(timeout=_PATIENCE),
        ],
    )


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


class _Joined:
    """See `edgekit.training.processes.Processes`."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.rank: int = accelerator.process_index
        self.count: int = accelerator.num_processes

    @contextmanager
    def wrapped(self, model: nn.Module) -> Iterator[nn.Module]:
        """The model with gradients that are the mean over all processes.

        Raises:
            ConfigError: If it is not on the device of the processes.
        """
        place = next(model.parameters()).device
        if place.type != self._accelerator.device.type:
            raise ConfigError(
                f"The processes were joined to train on {self._accelerator.device.type}, but "
                f"this training runs on {place.type}; give train.device the same value for both"
            )
        from accelerate.utils import broadcast

        with torch.no_grad():
            for item in model.state_dict().values():
                item.copy_(broadcast(item.clone(), from_process=0))
        with synchronised_norms(model), warnings.catch_warnings():
            # Torch 2.13 renamed broadcast_buffers, and Accelerate has the old name.
            warnings.filterwarnings("ignore", message=".*broadcast_buffers.*")
            # Of weights with one input channel, whose strides may be either.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view")
            network: nn.Module = self._accelerator.prepare_model(model, device_placement=False)
            yield network

    def sum(self, values: Tensor) -> Tensor:
        """The sum of what each process gives."""
        total: Tensor = self._accelerator.reduce(values.clone(), reduction="sum")
        return total

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Puts the mean over all processes into each tensor."""
        for item in tensors:
            item.copy_(self.sum(item) / self.count)

    def gathered[T](self, value: T) -> list[T]:
        """What each process gives, by rank."""
        found: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(found, value)
        return found

    def from_first[T](self, make: Callable[[], T]) -> T:
        """What ``make`` gives in the first process."""
        from accelerate.utils import broadcast_object_list

        answer: list[Any] = [None, None]
        if not self.rank:
            try:
                answer[0] = make()
                pickle.dumps(answer[0])
            except EdgekitError as error:
                answer = [None, error]
        broadcast_object_list(answer, from_process=0)
        if answer[1] is not None:
            raise answer[1]
        made: T = answer[0]
        return made
