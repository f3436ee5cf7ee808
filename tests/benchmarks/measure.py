"""Whole processes run in turns, and what each costs."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20

# a process begins with the peak memory of the one that started it: so a small one stands between
WATCH = """
import os, sys, time
start = time.perf_counter()
silent = os.open(os.devnull, os.O_WRONLY)
actions = [(os.POSIX_SPAWN_DUP2, silent, 1), (os.POSIX_SPAWN_DUP2, silent, 2)]
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=actions)
_, _, used = os.wait4(pid, 0)
print(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A converter. ``command`` is followed by input and output, in the order that ``output_first`` tells."""

    name: str
    command: tuple[str, ...]
    output_first: bool = False

    def arguments(self, source: Path, target: Path) -> list[str]:
        folders = [str(target), str(source)] if self.output_first else [str(source), str(target)]
        return [*self.command, *folders]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one run. ``cpu_s``: user and system time of the process and its children."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    output_mib: float


def in_turns(tools: Sequence[Tool], source: Path, rounds: int) -> dict[str, list[Cost]]:
    """Run all tools one after another, ``rounds`` times: A B C A B C. Reads the source once before."""
    for path in source.rglob("*"):
        if path.is_file():
            path.read_bytes()
    costs: dict[str, list[Cost]] = {tool.name: [] for tool in tools}
    for _ in range(rounds):
        for tool in tools:
            costs[tool.name].append(run_once(tool, source))
    return costs


def run_once(tool: Tool, source: Path) -> Cost:
    """Raises RuntimeError if the tool cannot be started or writes no volume.

    Its exit code counts for nothing: some sets hold what one tool or the other refuses.
    """
    target = Path(tempfile.mkdtemp(prefix="pacs2bids-benchmark-"))
    try:
        command = [sys.executable, "-I", "-S", "-c", WATCH, *tool.arguments(source, target)]
        watched = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        wall_s, cpu_s, peak_kib = map(float, watched.stdout.split()[-3:])
        if not any(target.rglob("*.nii*")):
            raise RuntimeError(f"{tool.name} wrote no volume of {source}")
        output = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        return Cost(wall_s=wall_s, cpu_s=cpu_s, peak_mib=peak_kib / 1024, output_mib=output / MIB)
    finally:
        shutil.rmtree(target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Medians of paired rounds; ratios are ours to theirs, below 1 is better."""

    ours: Cost
    theirs: Cost
    wall: float
    cpu: float
    peak: float
    output: float


def compared(ours: Sequence[Cost], theirs: Sequence[Cost]) -> Comparison:
    """The median over the rounds of each quantity, and of its ratio within a round."""
    pairs = list(zip(ours, theirs, strict=True))
    return Comparison(
        ours=_median(ours),
        theirs=_median(theirs),
        wall=statistics.median(a.wall_s / b.wall_s for a, b in pairs),
        cpu=statistics.median(a.cpu_s / b.cpu_s for a, b in pairs),
        peak=statistics.median(a.peak_mib / b.peak_mib for a, b in pairs),
        output=statistics.median(a.output_mib / b.output_mib for a, b in pairs),
    )


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(
        wall_s=statistics.median(cost.wall_s for cost in costs),
        cpu_s=statistics.median(cost.cpu_s for cost in costs),
        peak_mib=statistics.median(cost.peak_mib for cost in costs),
        output_mib=statistics.median(cost.output_mib for cost in costs),
    )


def table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines with aligned columns: the first two to the left, numbers to the right."""
    grid = [list(row) for row in rows]
    widths = [max(len(row[column]) for row in grid) for column in range(len(grid[0]))]
    for row in grid:
        cells = (
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
