"""Latency of one callable as a share of another's, timed in blocks in turn."""

from __future__ import annotations

from edgekit.measure.latency import Runnable, measure_latency

_BLOCKS = 9


def block_ratio(run: Runnable, base: Runnable, runs: int, blocks: int = _BLOCKS) -> float:
    """Median over blocks of ``run``'s median time over ``base``'s.

    Blocks of both stand in turn, so that a drift of the machine strikes both alike. Within a
    block each runs by itself: runs that alternate one by one find caches full of the other's
    data, which costs a small network more than a large one.

    Args:
        run: The numerator.
        base: The denominator.
        runs: Runs of each in one block; one more before them is not counted.
        blocks: Blocks of each.

    Raises:
        ValueError: If there is nothing to measure.
    """
    if blocks < 1:
        raise ValueError(f"{blocks} blocks cannot be measured")
    ratios = []
    for number in range(blocks):
        order = (run, base) if number % 2 else (base, run)
        times = {id(item): _median_ms(item, runs) for item in order}
        ratios.append(times[id(run)] / times[id(base)])
    middle = len(ratios) // 2
    ordered = sorted(ratios)
    return ordered[middle] if len(ratios) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _median_ms(run: Runnable, runs: int) -> float:
    run()
    return max(measure_latency(run, runs=runs, warmup_runs=0).percentile_ms(50), 1e-9)
