"""``pacs2bids place``: put the volumes of one session into the BIDS tree."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from pacs2bids.dates import POLICIES, SHIFT, Hide, read_key
from pacs2bids.files import read_record, remove_unfinished
from pacs2bids.model import Manifest, PlanRow, StudyIndex
from pacs2bids.owned import PLACED, PLACED_BEFORE, changes, owned_files
from pacs2bids.place import Finish, Privacy, StudyVolumes, participant_facts, place_session
from pacs2bids.plan_table import read_plan
from pacs2bids.text import counted
from pacs2bids.verbs._gate import needles_of_session, policy_of


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--session-dir", type=Path, required=True, help="folder of the session, with plan.tsv"
    )
    parser.add_argument("--studies-dir", type=Path, required=True, help="folder of the studies, one a UID")
    parser.add_argument("--bids", type=Path, required=True, help="root of the BIDS dataset")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="the configuration, for what it says of `privacy`"
    )
    parser.add_argument("--dates", choices=POLICIES, default=SHIFT, help="how dates are hidden (shift)")
    parser.add_argument(
        "--dates-key",
        type=Path,
        metavar="FILE",
        help="secret key of --dates shift (dates.key in the workdir)",
    )


def run(arguments: argparse.Namespace) -> str:
    """Place the session."""
    for record in ("owned.json", PLACED_BEFORE, PLACED):
        remove_unfinished(arguments.session_dir / record)
    before = owned_files(arguments.session_dir)
    rows = read_plan(arguments.session_dir / "plan.tsv")
    studies: dict[str, StudyVolumes] = {}
    indexes: list[StudyIndex] = []
    for uid in sorted({row.study_instance_uid for row in rows}):
        folder = arguments.studies_dir / uid
        manifest = read_record(folder / "volumes" / "manifest.json", Manifest)
        index = read_record(folder / "index.json", StudyIndex)
        stacks = {stack.stack_id: stack for stack in index.stacks}
        studies[uid] = StudyVolumes(folder=folder / "volumes", manifest=manifest, stacks=stacks)
        indexes.append(index)
    series = [one for index in indexes for one in index.series]
    placed = place_session(
        session_dir=arguments.session_dir,
        bids=arguments.bids,
        rows=rows,
        studies=studies,
        participant=participant_facts(sorted(series, key=lambda entry: entry.acquired or "~")),
        hide=_hide(arguments),
        privacy=_privacy(arguments, studies),
        finish=_finish(arguments, rows, indexes),
    )
    files = len(placed.files) + len(placed.tables)
    told = [
        f"{counted(len(placed.volumes), 'volume')} in {counted(files, 'file')}",
        changes(before, owned_files(arguments.session_dir)),
        f"{len(placed.absent)} absent" if placed.absent else "",
    ]
    return f"{placed.session_key}: {', '.join(part for part in told if part)}"


def _finish(arguments: argparse.Namespace, rows: Sequence[PlanRow], indexes: Sequence[StudyIndex]) -> Finish:
    """What the heuristic wants done with the files; raises as ``after_conversion`` does."""
    if not any(row.calls for row in rows):
        return list
    # imported here: few heuristics have that hook
    from pacs2bids.verbs._calls import called  # noqa: PLC0415

    return partial(
        called,
        rows=rows,
        indexes=indexes,
        studies_dir=arguments.studies_dir,
        session_dir=arguments.session_dir,
    )


def _privacy(arguments: argparse.Namespace, studies: Iterable[str]) -> Privacy:
    policy = policy_of(arguments.config, arguments.dates)
    folders = [arguments.studies_dir / uid for uid in studies]
    needles = needles_of_session(arguments.session_dir.name, folders, policy)
    key = _key(arguments) if policy.rules.device_serial == "hash" else b""
    return Privacy(rules=policy.rules, defacing=policy.defacing, needles=needles, key=key)


def _hide(arguments: argparse.Namespace) -> Hide:
    if arguments.dates != SHIFT:
        return Hide(policy=arguments.dates)
    return Hide(policy=SHIFT, key=_key(arguments))


def _key(arguments: argparse.Namespace) -> bytes:
    sessions = arguments.session_dir.resolve().parent
    return read_key(arguments.dates_key or sessions.parent / "dates.key", sessions)
