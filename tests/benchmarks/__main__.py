"""``python -m tests.benchmarks``: pacs2bids convert and dcm2niix in turns over the same folders."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import dcm2niix  # type: ignore[import-untyped]
from tests.benchmarks.measure import Comparison, Cost, Tool, compared, in_turns, table
from tests.benchmarks.workloads import WORKLOADS, Places, Unavailable, Workload

HEAD = (
    "workload",
    "output",
    "files",
    "wall",
    "CPU",
    "memory",
    "size",
    "our s",
    "our MB",
    "us a file",
    "their s",
)


def ours(gzip: str) -> Tool:
    """``pacs2bids convert`` with two threads."""
    command = (sys.executable, "-m", "pacs2bids", "convert", "-j", "2", "--gzip", gzip)
    return Tool(name=f"pacs2bids --gzip {gzip}", command=command)


def theirs(compress: str) -> Tool:
    """dcm2niix itself, not the Python script around it, with sidecars."""
    command = (str(dcm2niix.bin), "-z", compress, "-b", "y", "-f", "%s_%d_%t", "-o")
    return Tool(name=f"dcm2niix -z {compress}", command=command, output_first=True)


# what is compared with what: "fast" and "small" against the internal gzip, which -z y falls back to
PAIRS = (
    (ours("fast"), theirs("i")),
    (ours("small"), theirs("i")),
    (ours("off"), theirs("n")),
)
PIGZ = (ours("fast"), theirs("y"))


def main() -> int:
    """Run the workloads asked for and print one table."""
    arguments = _arguments()
    # an installed package has its bytecode: compiling it at each start would be measured
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    places = Places(corpus=arguments.corpus, data=arguments.data)
    pairs = (*PAIRS, PIGZ) if shutil.which("pigz") else PAIRS
    chosen = [load for load in WORKLOADS if not arguments.workload or load.name in arguments.workload]
    rows: list[tuple[str, ...]] = [HEAD]
    for workload in chosen:
        try:
            rows += _rows(workload, workload.folder(places), pairs, arguments.rounds)
        except Unavailable as reason:
            print(f"skipped {workload.name}: {reason}", file=sys.stderr)
    print(_machine())
    print(f"Ratios are ours to theirs, medians of {arguments.rounds} paired rounds; below 1 is better.\n")
    print(*table(rows), sep="\n")
    return 0


def _arguments() -> argparse.Namespace:
    corpus = os.environ.get("PACS2BIDS_TEST_CORPUS")
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    names = [workload.name for workload in WORKLOADS]
    parser.add_argument("workload", nargs="*", help=f"which; default: all of {', '.join(names)}")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of all tools in turns (3)")
    parser.add_argument(
        "--corpus", type=Path, default=Path(corpus) if corpus else None, help="where its sets are unpacked"
    )
    default = Path(tempfile.gettempdir()) / f"pacs2bids-benchmarks-{os.getuid()}"
    parser.add_argument(
        "--data", type=Path, default=default, help=f"what is made here is kept in ({default})"
    )
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.workload) - set(names)):
        parser.error(f"no such workload: {', '.join(unknown)}")
    return arguments


def _rows(
    workload: Workload, source: Path, pairs: tuple[tuple[Tool, Tool], ...], rounds: int
) -> list[tuple[str, ...]]:
    files = sum(path.is_file() for path in source.rglob("*"))
    print(f"{workload.name}: {workload.what}, {files} files ...", file=sys.stderr, flush=True)
    tools = list({tool.name: tool for pair in pairs for tool in pair}.values())
    costs = in_turns(tools, source, rounds)
    return [
        _row(workload.name, mine, other, files, compared(costs[mine.name], costs[other.name]))
        for mine, other in pairs
    ]


def _row(name: str, mine: Tool, other: Tool, files: int, result: Comparison) -> tuple[str, ...]:
    cost: Cost = result.ours
    return (
        name,
        f"{mine.command[-1]} : {other.name.removeprefix('dcm2niix ')}",
        str(files),
        f"{result.wall:.2f}",
        f"{result.cpu:.2f}",
        f"{result.peak:.2f}",
        f"{result.output:.3f}",
        f"{cost.wall_s:.2f}",
        f"{cost.peak_mib:.0f}",
        f"{1e6 * cost.cpu_s / files:.0f}",
        f"{result.theirs.wall_s:.2f}",
    )


def _machine() -> str:
    cores = len(os.sched_getaffinity(0))
    tools = ", ".join(f"{name} {version(name)}" for name in ("pacs2bids", "dcm2niix", "numpy", "isal"))
    return f"{platform.machine()}, {cores} cores, Python {platform.python_version()}; {tools}"


if __name__ == "__main__":
    sys.exit(main())
