"""Evidence in, words out: what is said of one session.

No markup, no pixels and no clock here: the same evidence gives the same page. Names, IDs, birth dates and
accession numbers are never looked at; of times only the time of day is told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pacs2bids.model import (
    Finding,
    Leftover,
    PlanRow,
    Reason,
    Receipt,
    StudyIndex,
    TransferStatus,
    is_set_aside,
)
from pacs2bids.moments import moment_of
from pacs2bids.report.evidence import SessionEvidence, StudyEvidence
from pacs2bids.report.findings import errors_of, findings_of
from pacs2bids.report.series import acquired_of, series_of
from pacs2bids.report.view import (
    BAD,
    FAIR,
    GOOD,
    PLAIN,
    Badge,
    Fact,
    Group,
    ReceiptCount,
    ReceiptView,
    SessionSummary,
    SessionView,
    group,
)
from pacs2bids.standing import Log, State, Trouble, is_pulled, standing_of, troubles_of
from pacs2bids.text import counted, megabytes

# what a reason means to a person, and its tone: fair if it may concern images that somebody misses
REASONS = {
    Reason.NOT_DICOM: ("not a DICOM file", PLAIN),
    Reason.UNREADABLE: ("cannot be read", FAIR),
    Reason.NO_IMAGE: ("without an image", PLAIN),
    Reason.NO_GEOMETRY: ("a picture without a place in the patient", PLAIN),
    Reason.UNSUPPORTED: ("a form that is not supported", FAIR),
    Reason.DUPLICATE: ("a duplicate", PLAIN),
    Reason.INCOMPLETE: ("of a volume that lacks slices", FAIR),
    Reason.INCONSISTENT: ("contradicts the rest of its series", FAIR),
    Reason.FOREIGN: ("belongs to another study", FAIR),
}

_TONES = {State.PLACED: GOOD, State.LACKING: BAD, State.WAITING: FAIR, State.FAILED: BAD}


# ------------------------------------------------------------------------------------------ a session


def session_view(session: SessionEvidence, bids: Path, findings: Sequence[Finding] = ()) -> SessionView:
    """Everything its page says. ``bids``: root of the dataset. ``findings``: what checks found in it."""
    indexes = [study.index for study in session.studies if study.index]
    return SessionView(
        summary=_summary(session, indexes, errors_of(findings)),
        clock=_clock(indexes),
        scanner=_scanner(indexes),
        opinion=_opinion(session),
        notes=_notes(session),
        findings=findings_of(findings),
        series=series_of(session, bids),
        leftovers=_leftovers(indexes),
        receipts=tuple(_receipt(study, study.receipt) for study in session.studies if study.receipt),
    )


def _summary(session: SessionEvidence, indexes: Sequence[StudyIndex], errors: int) -> SessionSummary:
    subject, _, label = session.key.removeprefix("sub-").partition("_ses-")
    troubles = troubles_of(list(_open_stages(session)), _absent(session))
    aside = {row.series_instance_uid for row in session.plan or () if is_set_aside(row)}
    engines = {index.engine_version for index in indexes}
    engines |= {study.manifest.engine_version for study in session.studies if study.manifest}
    return SessionSummary(
        key=session.key,
        subject=subject,
        session=label,
        badge=_standing(session, troubles, len(aside)),
        failed=any(trouble.log for trouble in troubles),
        placed=session.placed is not None,
        absent=len(session.placed.absent) if session.placed else 0,
        set_aside=len(aside),
        troubles=troubles,
        named=len(session.placed.volumes) if session.placed else 0,
        stacks=sum(len(index.stacks) for index in indexes),
        series=sum(len(index.series) for index in indexes),
        instances=sum(index.instances for index in indexes),
        left_over=sum(len(index.leftovers) for index in indexes),
        came=_came(session),
        acquired=acquired_of(session),
        skipped=_skipped(session.plan or ()),
        errors=errors,
        receipts=tuple(_receipt_count(study.receipt) for study in session.studies if study.receipt),
        engines=tuple(sorted(engines)),
        problems=session.problems,
    )


def _skipped(plan: Sequence[PlanRow]) -> tuple[tuple[str, str], ...]:
    """Each series once, however many volumes of it have no name."""
    series = {
        (row.series_instance_uid, row.reason): row.series_description or "without a description"
        for row in plan
        if not row.bids_name
    }
    return tuple((reason, description) for (_, reason), description in series.items())


def _receipt_count(receipt: Receipt) -> ReceiptCount:
    return ReceiptCount(
        source=receipt.source,
        announced=sum(len(uids) for uids in receipt.announced.values()),
        missing=len(receipt.missing),
        complete=receipt.complete,
    )


def _standing(session: SessionEvidence, troubles: Sequence[Trouble], set_aside: int) -> Badge:
    """How far a session came."""
    state, text = standing_of(troubles, _absent(session))
    if state is State.PLACED and not session.is_listed:
        return Badge(tone=FAIR, text="placed, not in studies.tsv any more")
    if state is State.PLACED and set_aside:
        return Badge(tone=FAIR, text=f"placed, {counted(set_aside, 'series', 'series')} set aside")
    return Badge(tone=_TONES[state], text=text)


def _absent(session: SessionEvidence) -> dict[str, str] | None:
    """Planned names without a volume, and why; None if the session is not placed."""
    return session.placed.absent if session.placed else None


def _open_stages(session: SessionEvidence) -> Iterator[tuple[str, Log]]:
    """The stages without a result, in order; of a session that is not placed, the last is among them."""
    for study in session.studies:
        results = {
            "pull": _is_pulled(study),
            "index": study.index is not None,
            "reconstruct": study.manifest is not None,
        }
        yield from ((stage, study.logs[stage]) for stage, is_done in results.items() if not is_done)
    if session.plan is None:
        yield "plan", session.logs["plan"]
    if session.placed is None:
        yield "place", session.logs["place"]


def _is_pulled(study: StudyEvidence) -> bool:
    is_whole = study.receipt is not None and study.receipt.complete
    return is_pulled(is_whole=is_whole, is_indexed=study.index is not None, log=study.logs["pull"])


def _came(session: SessionEvidence) -> str:
    """Instances received, of those announced; without a receipt, those that were indexed."""
    receipts = [study.receipt for study in session.studies if study.receipt]
    announced = sum(len(uids) for receipt in receipts for uids in receipt.announced.values())
    missing = sum(len(receipt.missing) for receipt in receipts)
    if not receipts:
        indexed = sum(study.index.instances for study in session.studies if study.index)
        return f"{indexed:,}" if indexed else ""
    return f"{announced - missing:,} of {announced:,}" if missing else f"{announced:,}"


def _clock(indexes: Iterable[StudyIndex]) -> str:
    """From when to when, as times of day."""
    moments = [moment for index in indexes for info in index.series if (moment := moment_of(info.acquired))]
    ends = [f"{moment:%H:%M}" for moment in (min(moments), max(moments))] if moments else []
    return " to ".join(dict.fromkeys(ends))


def _scanner(indexes: Iterable[StudyIndex]) -> str:
    models = [
        " ".join(part for part in (info.manufacturer, info.model_name) if part)
        for index in indexes
        for info in index.series
    ]
    return ", ".join(dict.fromkeys(model for model in models if model))


def _opinion(session: SessionEvidence) -> str:
    """How many volumes dcm2niix agrees with; "" where it was not asked. The differences are notes."""
    asked = [study.opinions for study in session.studies if study.opinions is not None]
    opinions = [one for opinions in asked for one in opinions]
    agreeing = sum(one.verdict == "agrees" for one in opinions)
    if not asked:
        return ""
    return f"second opinion: dcm2niix agrees with {agreeing} of {counted(len(opinions), 'volume')}"


def _notes(session: SessionEvidence) -> tuple[str, ...]:
    """Warnings of the jobs, and series of which nothing could be read, so that they are no series here."""
    logs = [log for study in session.studies for log in study.logs.values()] + list(session.logs.values())
    notes = [warning for log in logs for warning in log.warnings]
    for index in (study.index for study in session.studies if study.index):
        keys = {info.series_key for info in index.series}
        notes += [one.error for one in index.refused if one.stack_id.partition("-")[0] not in keys]
    return tuple(dict.fromkeys(notes))


def _leftovers(indexes: Iterable[StudyIndex]) -> tuple[Group, ...]:
    groups: dict[Reason, list[Leftover]] = defaultdict(list)
    for index in indexes:
        for leftover in index.leftovers:
            groups[leftover.reason].append(leftover)
    return tuple(_leftover_group(reason, groups[reason]) for reason in REASONS if reason in groups)


def _leftover_group(reason: Reason, leftovers: Sequence[Leftover]) -> Group:
    """What all have in common is said once."""
    title, tone = REASONS[reason]
    details = {leftover.detail for leftover in leftovers}
    if len(details) == 1:
        return group(tone=tone, title=title, detail=details.pop(), lines=[one.path for one in leftovers])
    return group(tone=tone, title=title, lines=[f"{one.path}: {one.detail}" for one in leftovers])


# ------------------------------------------------------------------------------------------ a receipt


def _receipt(study: StudyEvidence, receipt: Receipt) -> ReceiptView:
    announced = sum(len(uids) for uids in receipt.announced.values())
    size = megabytes(sum(instance.bytes for instance in receipt.received))
    facts = {
        "Source": f"{receipt.source} ({receipt.kind})",
        "Announced": f"{counted(announced, 'instance')} in {len(receipt.announced):,} series",
        "Received": f"{counted(len(receipt.received), 'instance')}, {size}",
        "Missing": f"{len(receipt.missing):,}",
        "Took": _duration(receipt),
    }
    return ReceiptView(
        study=study.row.study_instance_uid,
        badge=Badge(tone=GOOD, text="complete") if receipt.complete else Badge(tone=BAD, text="incomplete"),
        facts=tuple(Fact(label=label, value=value) for label, value in facts.items() if value),
        groups=tuple(_receipt_groups(receipt)),
        transfers=tuple(_transfers(receipt)),
    )


def _receipt_groups(receipt: Receipt) -> Iterator[Group]:
    lists: Mapping[str, tuple[str, Sequence[str]]] = {
        "missing": (BAD, receipt.missing),
        "refused": (FAIR, [f"{one.sop_instance_uid}: {one.reason}" for one in receipt.refused]),
        "sent again, the same": (PLAIN, receipt.duplicates),
        "sent again, different": (FAIR, receipt.conflicting),
        "of another study": (FAIR, receipt.foreign),
    }
    for title, (tone, lines) in lists.items():
        if lines:
            yield group(tone=tone, title=title, lines=lines)


def _transfers(receipt: Receipt) -> Iterator[str]:
    """How the transfers ended, those that ended alike in one line: a study may take hundreds."""
    endings: dict[tuple[str, str, str], list[TransferStatus]] = defaultdict(list)
    for transfer in receipt.transfers:
        endings[transfer.level, transfer.status, transfer.comment].append(transfer)
    for (level, status, comment), transfers in endings.items():
        done, failed = sum(one.completed or 0 for one in transfers), sum(one.failed or 0 for one in transfers)
        ended = f"status {status}" if status else "no final answer"
        said = f" ({comment})" if comment else ""
        yield f"{len(transfers):,} × {level}: {ended}, {done:,} completed, {failed:,} failed{said}"


def _duration(receipt: Receipt) -> str:
    started, finished = moment_of(receipt.started), moment_of(receipt.finished)
    return f"{(finished - started).total_seconds():.0f} s" if started and finished else ""
