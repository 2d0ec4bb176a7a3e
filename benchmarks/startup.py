"""Start-up time of the command line: median wall time of fresh processes, in seconds.

Run it on an idle machine: ``python benchmarks/startup.py [runs]``.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

LINES = {
    "python -c pass": ["-c", "pass"],
    "import edgekit": ["-c", "import edgekit"],
    "edgekit --version": ["-m", "edgekit", "--version"],
    "edgekit --help": ["-m", "edgekit", "--help"],
    "edgekit convert --help": ["-m", "edgekit", "convert", "--help"],
}


def median_s(arguments: list[str], runs: int) -> float:
    """Median wall time of ``runs`` processes, after one that fills the file cache."""
    times = []
    for _ in range(runs + 1):
        begin = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def main() -> None:
    """Prints one line for each command."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    for name, arguments in LINES.items():
        print(f"{name:24} {median_s(arguments, runs):.3f} s (median of {runs})")


if __name__ == "__main__":
    main()
