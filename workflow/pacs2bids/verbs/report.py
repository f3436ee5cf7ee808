"""``pacs2bids report``: write the pages to look at."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pacs2bids.files import private_folder, remove_unfinished, write_text, write_tsv
from pacs2bids.model import Finding, Pacs2BidsError
from pacs2bids.plan_table import read_plan
from pacs2bids.report.blotting import blotted
from pacs2bids.report.drift import COLUMNS, table_of
from pacs2bids.report.evidence import KnownSession, Outline, outline, session_evidence
from pacs2bids.report.facts import session_view
from pacs2bids.report.findings import by_session
from pacs2bids.report.kept import (
    PAGE,
    SOLIDS,
    digest_of,
    drawing_version,
    folder_beside,
    keep,
    kept_summary,
    remove_others,
)
from pacs2bids.report.page import render_dataset, render_session
from pacs2bids.report.pictures import Drawing, drawing_of
from pacs2bids.report.view import SessionSummary, VolumeRef
from pacs2bids.report.viewer import SCRIPT, installed, script, volume_script
from pacs2bids.report.whole import page_of
from pacs2bids.text import counted
from pacs2bids.verbs._gate import Policy, needles_to_blot, policy_of
from pacs2bids.verbs._workdir import there

DRIFT = "drift.tsv"  # in the folder beside the page

log = logging.getLogger("pacs2bids.report")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--workdir", type=Path, required=True, help="where the stages left their files")
    parser.add_argument("--bids", type=Path, required=True, help="root of the BIDS dataset")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the page; FILE_files holds one a session"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="what identifies nobody by its `privacy` is shown, too"
    )
    parser.add_argument(
        "-j", "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (one a core)"
    )


def run(arguments: argparse.Namespace) -> str:
    """Write the pages. What is missing or broken is said there; raises ConfigError without a workdir, or for
    a configuration that is none.
    """
    out: Path = arguments.out
    remove_unfinished(out)
    known = outline(there(arguments.workdir), arguments.bids, read_plan=read_plan)
    # its owner's alone, as all in it: pages hold faces and the free text of the console
    folder = private_folder(folder_beside(out))
    remove_others(folder, [session.key for session in known.sessions])
    policy = policy_of(arguments.config)
    tasks = list(_tasks(known, out, viewer=_write_viewer(folder), policy=policy))
    summaries = {task.session.key: task.kept for task in tasks if task.kept}
    waiting = [task for task in tasks if not task.kept]
    for drawn in _drawn(waiting, arguments.jobs):
        for warning in drawn.warnings:
            log.warning("%s", warning)
        summaries[drawn.summary.key] = drawn.summary
    page = page_of(known, [summaries[session.key] for session in known.sessions])
    for problem in page.problems:
        log.warning("%s", problem)
    write_tsv(folder / DRIFT, COLUMNS, table_of(page.drift), mode=0o600)
    write_text(out, render_dataset(page, files=folder.name, drift_table=DRIFT), mode=0o600)
    sessions = counted(len(page.sessions), "session")
    series = counted(sum(session.series for session in page.sessions), "series", "series")
    return f"report of {sessions}, {series} -> {out}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """One session: what its page is made of, and what is kept of it, None if it must be drawn.

    ``neighbours``: keys of the session before and of the one after, "" where there is none. ``viewer``: file
    of the viewer's script, "" without one.
    """

    workdir: Path
    bids: Path
    out: Path
    title: str
    session: KnownSession
    neighbours: tuple[str, str]
    findings: tuple[Finding, ...]
    digest: str
    viewer: str
    policy: Policy
    kept: SessionSummary | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    summary: SessionSummary
    warnings: tuple[str, ...]


def _tasks(known: Outline, out: Path, *, viewer: str, policy: Policy) -> Iterator[_Task]:
    findings = by_session(known.check.findings if known.check else ())
    title = str(known.description.get("Name") or known.bids.resolve().name)
    versions = [drawing_version(), title, installed() if viewer else "", repr(policy.rules)]
    keys = ["", *(session.key for session in known.sessions), ""]
    for session, *neighbours in zip(known.sessions, keys, keys[2:], strict=False):
        found = tuple(findings.get(session.key, ()))
        digest = digest_of(known.workdir, session, found, [*versions, *neighbours])
        yield _Task(
            workdir=known.workdir,
            bids=known.bids,
            out=out,
            title=title,
            session=session,
            neighbours=(neighbours[0], neighbours[1]),
            findings=found,
            digest=digest,
            viewer=viewer,
            policy=policy,
            kept=kept_summary(folder_beside(out), session.key, digest),
        )


def _drawn(tasks: Sequence[_Task], jobs: int) -> Iterator[_Drawn]:
    if min(len(tasks), jobs) <= 1:
        yield from map(_draw, tasks)
        return
    # a fresh process each: numpy's and the logger's threads are not forked
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(len(tasks), jobs), mp_context=context, initializer=_ignore_ctrl_c) as pool:
        yield from pool.map(_draw, tasks)


def _ignore_ctrl_c() -> None:
    """It is this process's to end, in one line; the others end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _draw(task: _Task) -> _Drawn:
    """Write one session's page. What a picture lacks is told by the page, too."""
    evidence = session_evidence(task.workdir, task.session, read_plan=read_plan)
    studies = [task.workdir / "studies" / row.study_instance_uid for row in task.session.studies]
    needles = needles_to_blot(task.session.key, studies, task.policy)
    view = blotted(session_view(evidence, task.bids, task.findings), needles)
    drawings = {volume: _drawing(volume) for volume in view.volumes()}
    folder = folder_beside(task.out)
    scripts = _write_volumes(folder / f"{task.session.key}{SOLIDS}", drawings) if task.viewer else {}
    page = render_session(
        view,
        drawings,
        scripts,
        viewer=task.viewer,
        title=task.title,
        back=f"../{task.out.name}",
        neighbours=task.neighbours,
    )
    write_text(folder / f"{task.session.key}{PAGE}", page, mode=0o600, flushed=False)
    keep(folder, task.digest, view.summary)
    problems = tuple(
        f"no picture of {volume.path}: {drawing.problem}"
        for volume, drawing in drawings.items()
        if drawing.problem
    )
    return _Drawn(summary=view.summary, warnings=problems)


def _write_volumes(folder: Path, drawings: Mapping[VolumeRef, Drawing]) -> dict[VolumeRef, str]:
    """What the viewer loads; returns the number of each."""
    shutil.rmtree(folder, ignore_errors=True)
    private_folder(folder)
    scripts = {}
    for number, (volume, drawing) in enumerate(drawings.items()):
        if drawing.solid is not None:
            scripts[volume] = f"{number:03}"
            content = volume_script(drawing.solid, scripts[volume])
            write_text(folder / f"{scripts[volume]}.js", content, mode=0o600, flushed=False)
    return scripts


def _write_viewer(folder: Path) -> str:
    """The viewer's script, once for all sessions; returns its name, "" if there is none."""
    text = script() if installed() else ""
    path = folder / SCRIPT
    if not text:
        path.unlink(missing_ok=True)
        return ""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text, mode=0o600)
    return SCRIPT


def _drawing(volume: VolumeRef) -> Drawing:
    try:
        return drawing_of(volume)
    except Pacs2BidsError as error:
        return Drawing(problem=error.what)
