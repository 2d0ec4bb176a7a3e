"""Makes torch give the same result twice, without leaving traces in the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic(seed: int, threads: int, device: torch.device | None = None) -> Iterator[None]:
    """Seeds torch, fixes its threads and allows deterministic algorithms only.

    The thread count is part of the result: it decides how sums are split. All settings and
    the state of the global generator are put back afterwards. On a GPU some operations have no
    deterministic form; there they run all the same.
    """
    gpu = device is not None and device.type == "cuda"
    threads_before = torch.get_num_threads()
    strict_before = torch.are_deterministic_algorithms_enabled()
    warn_before = torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if gpu else []):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(not gpu)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict_before, warn_only=warn_before)
            torch.set_num_threads(threads_before)
