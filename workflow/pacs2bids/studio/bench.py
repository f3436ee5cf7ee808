"""What the page asks of heuristics, done in a process of its own that has one thread, and so may fork.

Its functions get the ``Shelf`` of that process first; they are called by ``Process.ask``.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pacs2bids import plan_text
from pacs2bids.builtin import is_builtin
from pacs2bids.dialects import seen
from pacs2bids.dialects.linting import lint
from pacs2bids.files import read_record
from pacs2bids.images import AWAY, away
from pacs2bids.model import Pacs2BidsError, PlanRow, Stack, StudyIndex, is_set_aside
from pacs2bids.moments import moment_of
from pacs2bids.plan_table import read_plan
from pacs2bids.planning import Asked, Planned, placed_names, plan_of, tried_of
from pacs2bids.released import VOLUMES
from pacs2bids.report.series import MAY_TELL, described, may_tell
from pacs2bids.roster import Session, distinct
from pacs2bids.session import Series, series_of
from pacs2bids.studio import records

MOST_STUDIES = 64  # whose indexes are kept in memory: a few MB each
MOST_BESIDE = 1000  # files beside a heuristic that a draft may need


@dataclass(slots=True, kw_only=True)
class Shelf:
    """Indexes that were read, until their files change; the last used are kept."""

    _kept: OrderedDict[Path, tuple[int, StudyIndex]] = field(default_factory=OrderedDict)

    def indexes(self, session: Session) -> list[StudyIndex]:
        """Those of a session. Raises as ``roster.indexes_of``."""
        return distinct(self._index(study / "index.json") for study in session.studies)

    def _index(self, path: Path) -> StudyIndex:
        written_ns = path.stat().st_mtime_ns if path.exists() else 0
        known = self._kept.pop(path, None)
        if known is None or known[0] != written_ns:
            known = (written_ns, read_record(path, StudyIndex))
        self._kept[path] = known
        while len(self._kept) > MOST_STUDIES:
            self._kept.popitem(last=False)
        return known[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A heuristic as it is saved, or (``draft``) as it stands in the page. ``folder``: for drafts."""

    path: Path
    folder: Path
    draft: str | None = None

    def file(self) -> Path:
        """The file to ask. A draft is laid among links to what lies beside its heuristic, for its imports."""
        if self.draft is None:
            return self.path
        copy = self.folder / self.path.name
        for beside in list(self.path.absolute().parent.iterdir())[:MOST_BESIDE]:
            link = self.folder / beside.name
            if beside.name not in (copy.name, "__pycache__") and not link.is_symlink():
                link.symlink_to(beside)
        copy.unlink(missing_ok=True)
        copy.write_text(self.draft, encoding="utf-8")
        return copy

    def told(self, said: str) -> str:
        """A message, with the path that a person knows."""
        return said if self.draft is None else said.replace(str(self.folder / self.path.name), str(self.path))

    def line(self, said: str) -> int:
        """Of an origin, or a message, that names a line of this file; 0: it does not."""
        found = re.search(rf"{re.escape(self.path.name)}, line (\d+)", said)
        return int(found[1]) if found else 0


def marks(_: Shelf, text: Text) -> tuple[records.Mark, ...]:
    """What ``lint`` finds."""
    if is_builtin(text.path):
        return ()
    return tuple(
        records.Mark(line=one.line, what=text.told(one.what), hint=text.told(one.hint), is_error=one.is_error)
        for one in lint(text.file())
    )


# ------------------------------------------------------------------------------------------------ the plan


def plan(shelf: Shelf, text: Text, asked: Asked, session: Session) -> records.SessionPlan:
    """The plan of one session beside what it was. Raises as ``plan_of``."""
    planned = _planned(shelf, text, asked, session)
    before, baseline = _before(session)
    after = plan_text.names_of(planned.plan.rows)
    facts = {
        (index.study_instance_uid, one.stack_id): plan_text.said_of(one.facts)
        for index in planned.indexes
        for one in index.stacks
    }
    merged: dict[plan_text.Key, list[PlanRow]] = {}
    for row in planned.plan.rows:
        merged.setdefault(plan_text.key_of(row), []).append(row)
    changes = {
        one.key: one
        for one in plan_text.differences(before, planned.plan.rows)
        if baseline and one.key in after
    }
    rows = tuple(_row(text, rows, facts.get(key, ""), changes.get(key)) for key, rows in merged.items())
    gone = sorted(name for key, names in before.items() if key not in after for name in names)
    return records.SessionPlan(
        key=session.key,
        rows=rows,
        warnings=tuple(text.told(one) for one in planned.plan.warnings),
        gone=tuple(map(plan_text.short, gone)),
        baseline=baseline,
    )


def _planned(shelf: Shelf, text: Text, asked: Asked, session: Session) -> Planned:
    asked = replace(asked, heuristic=text.file())
    try:
        return plan_of(session, asked, shelf.indexes(session))
    except Pacs2BidsError as error:
        error.where, error.what = text.told(error.where), text.told(error.what)
        raise


def _before(session: Session) -> tuple[plan_text.Names, str]:
    """The names that stand in the dataset; where the session is not placed, of the workflow's last plan."""
    if names := placed_names(session):
        return names, "dataset"
    path = session.folder / "plan.tsv" if session.folder else None
    if path is None or not path.exists():
        return {}, ""
    try:
        return plan_text.names_of(read_plan(path)), "last plan"
    except Pacs2BidsError:
        return {}, ""  # of another version: the next run makes it anew


def _row(text: Text, rows: Sequence[PlanRow], facts: str, change: plan_text.Difference | None) -> records.Row:
    first = rows[0]
    moment = moment_of(first.acquired or None)
    return records.Row(
        study=first.study_instance_uid,
        series=first.series_instance_uid,
        stack=first.stack_id,
        number="" if first.series_number is None else str(first.series_number),
        description=first.series_description,
        dims=first.dims.replace("x", " × "),
        facts=facts,
        time=f"{moment:%H:%M:%S}" if moment and "T" in first.acquired else "",
        names=tuple(plan_text.short(row.bids_name) for row in rows if row.bids_name),
        reason=first.reason,
        notes="; ".join(dict.fromkeys(row.notes for row in rows if row.notes)),
        line=text.line(first.origin),
        change=change.kind if change else "",
        before=tuple(map(plan_text.short, change.before)) if change else (),
        set_aside=any(map(is_set_aside, rows)),
    )


# ----------------------------------------------------------------------------------------------- one series


def series(
    shelf: Shelf, text: Text, asked: Asked, session: Session, key: tuple[str, str]
) -> records.SeriesDetail:
    """Everything about one series (StudyInstanceUID, SeriesInstanceUID). Raises as ``plan_of``."""
    planned = _planned(shelf, text, asked, session)
    asked = replace(asked, heuristic=text.file())
    found = {one.key: one for index in planned.indexes for one in series_of(index)}.get(key)
    if found is None:
        raise Pacs2BidsError("is in no study of this session", where=f"series {key[1]}")
    rows = [row for row in planned.plan.rows if (row.study_instance_uid, row.series_instance_uid) == key]
    moment = moment_of(found.info.acquired)
    return records.SeriesDetail(
        label=found.label,
        why=tuple(map(text.told, plan_text.explained(tried_of(planned, asked, key)))),
        volumes=_volumes(session, found, rows),
        seen=tuple(seen(asked.heuristic, planned.indexes, series=key, seqinfo=asked.seqinfo)),
        time=f"{moment:%H:%M:%S}" if moment else "",
        instances=found.info.instances,
    )


def _volumes(session: Session, found: Series, rows: Sequence[PlanRow]) -> tuple[records.Volume, ...]:
    """Those that have a volume, and those that were refused or never were one."""
    stacks = {stack.stack_id: stack for stack in found.stacks}
    said: dict[str, list[PlanRow]] = {key: [] for key in stacks}
    for row in rows:
        said.setdefault(row.stack_id, []).append(row)
    folders = {folder.name: folder for folder in session.studies}
    folder = folders[found.info.study_instance_uid]
    placed = placed_names(session)
    return tuple(
        _volume(folder, key, stacks.get(key), rows, is_placed=(folder.name, key) in placed)
        for key, rows in said.items()
    )


def _volume(
    folder: Path, key: str, stack: Stack | None, rows: Sequence[PlanRow], *, is_placed: bool
) -> records.Volume:
    facts, tags = described(stack) if stack else ((), ())
    is_there, unseen = _sight(folder, f"{key}.nii.gz", stack, is_placed=is_placed)
    said = [*(row.notes for row in rows if row.notes), *([unseen] if unseen else [])]
    return records.Volume(
        stack=key,
        names=tuple(plan_text.short(row.bids_name) for row in rows if row.bids_name),
        reason=rows[0].reason if rows else "",
        notes="; ".join(dict.fromkeys(said)),
        facts=tuple(records.Fact(label=one.label, value=one.value) for one in facts),
        tags=tags,
        warnings=stack.warnings if stack else (),
        is_drawable=is_there and not unseen,
    )


def _sight(folder: Path, image: str, stack: Stack | None, *, is_placed: bool) -> tuple[bool, str]:
    """Whether there is an image, and why it is not shown; "" else. What is placed, the policy let through."""
    gone = away(folder, image)
    is_there = bool(gone.sessions) if gone else (folder / VOLUMES / image).is_file()
    if gone and not is_there:
        return False, AWAY
    is_hidden = is_there and stack is not None and may_tell(stack) and not is_placed
    return is_there and stack is not None, f"not drawn: {MAY_TELL}" if is_hidden else ""


# ------------------------------------------------------------------------------------------------- applying


def changes(shelf: Shelf, text: Text, asked: Asked, session: Session) -> records.SessionChanges:
    """What would get other names than it has in the dataset. Raises as ``plan_of``."""
    planned = _planned(shelf, text, asked, session)
    return records.SessionChanges(
        key=session.key,
        changes=tuple(
            records.Change(
                label=one.label,
                kind=one.kind,
                before=tuple(map(plan_text.short, one.before)),
                after=tuple(map(plan_text.short, one.after)),
                why=one.why,
            )
            for one in plan_text.differences(placed_names(session), planned.plan.rows)
        ),
    )
