"""``pacs2bids check``: validate the dataset."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from pacs2bids.check import check_dataset
from pacs2bids.files import read_record, write_record
from pacs2bids.model import CheckResult, ConfigError, DatasetError, Finding
from pacs2bids.verbs._placed import add_placed, read_placed

log = logging.getLogger("pacs2bids.check")

SHOWN = 10


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--bids", type=Path, help="root of the BIDS dataset")
    parser.add_argument("--out", type=Path, help="all findings, as JSON")
    parser.add_argument(
        "--verdict",
        type=Path,
        metavar="FILE",
        help="only fail if FILE, an earlier --out, has errors",
    )
    parser.add_argument("--no-fail", action="store_true", help="exit with 0 even if the dataset is invalid")
    parser.add_argument("-j", type=int, default=cores, metavar="N", help="volumes that are read at a time")
    add_placed(parser)


def run(arguments: argparse.Namespace) -> str:
    """Check the dataset. Raises DatasetError if it has errors, unless ``--no-fail``."""
    if arguments.verdict:
        return _verdict(arguments.verdict)
    if not (arguments.bids and arguments.out):
        raise ConfigError("--bids and --out are needed, or --verdict", where="check")
    result = check_dataset(arguments.bids, read_placed(arguments), threads=arguments.j)
    write_record(arguments.out, result)
    errors = [finding for finding in result.findings if finding.severity == "error"]
    for finding in result.findings:
        if finding.severity != "error":
            log.info("%s", _line(finding))
    summary = _summary(arguments.bids, result, len(errors))
    if result.ok:
        return summary
    lines = [summary, *(_line(finding) for finding in errors[:SHOWN])]
    if len(errors) > SHOWN:
        lines.append(f"and {len(errors) - SHOWN} more errors")
    failure = DatasetError("\n  ".join(lines), hint=f"All findings are in {arguments.out}")
    if not arguments.no_fail:
        raise failure
    log.error("%s", failure)
    return summary


def _verdict(path: Path) -> str:
    errors = [one for one in read_record(path, CheckResult).findings if one.severity == "error"]
    if errors:
        raise DatasetError(
            f"the dataset has {len(errors)} errors", hint=f"The report lists them, as does {path}"
        )
    return "verdict: the dataset is valid"


def _summary(bids: Path, result: CheckResult, errors: int) -> str:
    subjects = bids.glob("sub-*/**/*")  # not derivatives, nor what a version control keeps there
    files = sum(path.is_file() for path in (*bids.glob("*"), *subjects))
    verdict = "valid" if result.ok else "invalid"
    warnings = len(result.findings) - errors
    return f"dataset {verdict}: {files} files, {errors} errors, {warnings} warnings"


def _line(finding: Finding) -> str:
    where = f"{finding.location}: " if finding.location else ""
    return f"{where}{finding.code}: {finding.message} [{finding.origin}]"
