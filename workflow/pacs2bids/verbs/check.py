"""``pacs2bids check``: validate the dataset."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from pacs2bids.check import SET_ASIDE, as_before, check_dataset, set_aside
from pacs2bids.files import read_record, remove_unfinished, write_record
from pacs2bids.leaks import Known, leaks, leaks_of_pages, leaks_of_rows
from pacs2bids.model import CheckResult, ConfigError, DatasetError, Finding, is_set_aside
from pacs2bids.plan_table import read_plan
from pacs2bids.text import counted, listed
from pacs2bids.verbs._gate import known_of, policy_of
from pacs2bids.verbs._placed import add_placed, placed_paths, read_in_dataset, read_placed
from pacs2bids.verbs._workdir import CONFIG

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
    parser.add_argument("--config", type=Path, metavar="FILE", help="for what it says of `privacy`")
    parser.add_argument(
        "--pages",
        type=Path,
        nargs="*",
        default=(),
        metavar="PATH",
        help="with --verdict: the report and the logs, to be searched for identifiers of patients",
    )
    parser.add_argument("--no-fail", action="store_true", help="exit with 0 even if the dataset is invalid")
    parser.add_argument(
        "--allow-set-aside", action="store_true", help="series on which the heuristic failed are a warning"
    )
    parser.add_argument("-j", type=int, default=cores, metavar="N", help="volumes that are read at a time")
    add_placed(parser)


def run(arguments: argparse.Namespace) -> str:
    """Check the dataset. Raises DatasetError if it has errors, unless ``--no-fail``."""
    if arguments.verdict:
        return _verdict(arguments)
    if not (arguments.bids and arguments.out):
        raise ConfigError("--bids and --out are needed, or --verdict", where="check")
    remove_unfinished(arguments.out)
    paths = placed_paths(arguments)
    placed = read_in_dataset(paths, arguments.bids, partial=arguments.partial)
    policy = policy_of(arguments.config)
    known = known_of(_workdir(paths), placed, policy)
    failed = {path.parent.name for path in paths if not path.exists()}
    result = check_dataset(
        arguments.bids,
        placed,
        expected=[path.parent.name for path in paths],
        prune=_prune(arguments, paths),
        prunable=[folder.name for folder in _workdir(paths).glob("sessions/*/")],
        more=chain(  # found only while the validator runs beside
            _set_aside(paths, "warning" if arguments.allow_set_aside else "error"),
            leaks(arguments.bids, known),
            _shown(paths, known),
            (as_before(one.session_key) for one in placed if one.session_key in failed),
        ),
        threads=arguments.j,
    )
    write_record(arguments.out, result)
    errors = [finding for finding in result.findings if finding.severity == "error"]
    for finding in result.findings:
        if finding.severity != "error":
            log.info("%s", _line(finding))
    summary = _summary(arguments.bids, result, len(errors))
    if result.ok:
        return summary
    told = listed([_line(finding) for finding in errors], SHOWN, separator="\n  ")
    failure = DatasetError(f"{summary}\n  {told}", hint=f"All findings are in {arguments.out}")
    if not arguments.no_fail:
        raise failure
    log.error("%s", failure)
    return summary


def _prune(arguments: argparse.Namespace, paths: Sequence[Path]) -> str:
    """The command that removes what left the table, as short as it can be where the check runs."""
    config: Path | None = arguments.config
    if config is None:
        options = ["--workdir", str(_workdir(paths)), "--bids", str(arguments.bids)]
    elif config.resolve() == CONFIG.resolve():
        options = []
    else:
        options = ["--config", str(config)]
    return shlex.join(["pacs2bids", "prune", *options])


def _workdir(paths: Sequence[Path]) -> Path:
    """Where ``sessions/<key>/placed.json`` is."""
    return paths[0].parents[2] if paths else Path("work")


def _set_aside(paths: Sequence[Path], severity: str) -> Iterator[Finding]:
    """The series that the heuristic failed on, by the plans beside the records; one entry a series."""
    for plan in (path.with_name("plan.tsv") for path in paths):
        rows = [row for row in read_plan(plan) if is_set_aside(row)] if plan.exists() else []
        for row in {row.series_instance_uid: row for row in rows}.values():
            yield set_aside(plan.parent.name, row.series_number, row.reason, severity=severity)


def _shown(paths: Sequence[Path], known: Known) -> Iterator[Finding]:
    """What the report shows of series that are not in the dataset."""
    for plan in (path.with_name("plan.tsv") for path in paths):
        rows = read_plan(plan) if plan.exists() else []
        yield from leaks_of_rows(plan.parent.name, rows, known.of(plan.parent.name.partition("_")[0]))


def _require_clean_pages(arguments: argparse.Namespace) -> None:
    """Raise DatasetError if report or logs name a patient. They may tell days of scans: they stay here."""
    placed = read_placed(placed_paths(arguments), partial=True)
    policy = replace(policy_of(arguments.config), dates=False)
    known = known_of(_workdir(placed_paths(arguments)), placed, policy)
    found = [(path, hit) for page in arguments.pages for path, hit in leaks_of_pages(page, known)]
    if found:
        told = listed([f"{path}: {hit}" for path, hit in found], SHOWN, separator="; ")
        hint = "Take care of whom you give it to; docs/privacy.md tells where it may come from"
        raise DatasetError(f"report or logs name a patient: {told}", hint=hint)


def _verdict(arguments: argparse.Namespace) -> str:
    path = arguments.verdict
    if arguments.pages:
        _require_clean_pages(arguments)
    findings = read_record(path, CheckResult).findings
    errors = [one for one in findings if one.severity == "error"]
    if errors:
        what = f"the dataset has {counted(len(errors), 'error')}"
        if all(one.code == SET_ASIDE for one in errors):
            lost = counted(len(errors), "series", "series")
            what = f"the dataset is valid, but lacks {lost} set aside by heuristic errors"
        raise DatasetError(what, hint=f"The report lists them, as does {path}")
    odd = sum(one.code == SET_ASIDE for one in findings)
    without = f"; {counted(odd, 'series', 'series')} set aside by heuristic errors" if odd else ""
    return f"verdict: the dataset is valid{without}"


def _summary(bids: Path, result: CheckResult, errors: int) -> str:
    subjects = bids.glob("sub-*/**/*")  # not derivatives, nor what a version control keeps there
    files = sum(path.is_file() for path in (*bids.glob("*"), *subjects))
    codes = {finding.code for finding in result.findings if finding.severity == "error"}
    verdict = "invalid" if codes - {SET_ASIDE} else "valid, but not whole" if codes else "valid"
    warnings = len(result.findings) - errors
    counts = (counted(files, "file"), counted(errors, "error"), counted(warnings, "warning"))
    return f"dataset {verdict}: {', '.join(counts)}"


def _line(finding: Finding) -> str:
    where = f"{finding.location}: " if finding.location else ""
    return f"{where}{finding.code}: {finding.message} [{finding.origin}]"
