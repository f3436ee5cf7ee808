"""What is said of the dataset: the sessions' summaries added up, and what the checks found."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pacs2bids import __version__
from pacs2bids.gate import ORIGIN
from pacs2bids.model import CheckResult, Json
from pacs2bids.report.drift import PARAMETERS, Drift, drift_of
from pacs2bids.report.evidence import Outline
from pacs2bids.report.findings import errors_of, findings_of
from pacs2bids.report.matrix import Matrix, matrix_of
from pacs2bids.report.view import (
    BAD,
    FAIR,
    GOOD,
    PLAIN,
    Badge,
    Fact,
    Group,
    ReceiptCount,
    SessionSummary,
    group,
)
from pacs2bids.text import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The page of the dataset. ``parameters``: labels of those that any sequence has."""

    title: str
    badge: Badge
    counts: tuple[Fact, ...]
    sessions: tuple[SessionSummary, ...]
    matrix: Matrix
    drift: tuple[Drift, ...]
    parameters: tuple[str, ...]
    findings: tuple[Group, ...]
    findings_note: str
    receipts: tuple[Fact, ...]
    incomplete: tuple[Group, ...]
    skipped: tuple[Group, ...]
    problems: tuple[str, ...]
    provenance: tuple[Fact, ...]


def page_of(outline: Outline, sessions: Sequence[SessionSummary]) -> Page:
    """Everything the page of the dataset says."""
    check = outline.check
    sheet = drift_of(sessions)
    told = {one.label for drift in sheet for one in drift.consensus}
    return Page(
        title=str(outline.description.get("Name") or outline.bids.resolve().name),
        badge=_verdict(outline, sessions),
        counts=_counts(sessions),
        sessions=tuple(sessions),
        findings=findings_of(check.findings if check else ()),
        findings_note=_findings_note(check),
        matrix=matrix_of(sessions),
        drift=sheet,
        parameters=tuple(one.label for one in PARAMETERS if one.label in told),
        receipts=_receipts(sessions),
        incomplete=_incomplete(sessions),
        skipped=_skipped(sessions),
        problems=(*_failures(outline), *outline.problems, *_problems(sessions)),
        provenance=_provenance(outline, sessions),
    )


def _failures(outline: Outline) -> Iterator[str]:
    """Errors of the jobs that no session has."""
    yield from (f"{stage}: {log.error}" for stage, log in outline.logs.items() if log.error)


def _problems(sessions: Sequence[SessionSummary]) -> Iterator[str]:
    for session in sessions:
        yield from session.problems


def _verdict(outline: Outline, sessions: Sequence[SessionSummary]) -> Badge:
    check = outline.check
    failed = sum(session.failed for session in sessions)
    unplaced = sum(not session.placed and not session.failed for session in sessions)
    absent = sum(session.absent for session in sessions)
    errors = errors_of(check.findings) if check else 0
    said = [
        text
        for number, text in (
            (failed, f"{failed} of {counted(len(sessions), 'session')} failed"),
            (unplaced, f"{unplaced} of {counted(len(sessions), 'session')} missing"),
            (absent, f"{counted(absent, 'volume')} missing"),
            (errors, counted(errors, "error")),
        )
        if number
    ]
    said += [f"{stage} failed" for stage, log in outline.logs.items() if log.error]
    if check is None:
        return Badge(tone=BAD if said else FAIR, text=", ".join([*said, "not validated"]))
    return Badge(tone=BAD, text=", ".join(said)) if said else Badge(tone=GOOD, text="valid")


def _counts(sessions: Sequence[SessionSummary]) -> tuple[Fact, ...]:
    """Of the sessions that did not fail; these are counted by themselves."""
    good = [session for session in sessions if not session.failed]
    counts = {
        "subjects": len({session.subject for session in good}),
        "sessions": len(good),
        "series": sum(session.series for session in good),
        "instances": sum(session.instances for session in good),
        "left over": sum(session.left_over for session in good),
        "volumes": sum(session.stacks for session in good),
        "in the dataset": sum(session.named for session in good),
    }
    if failed := len(sessions) - len(good):
        counts["failed"] = failed
    return tuple(Fact(label=label, value=f"{count:,}") for label, count in counts.items())


def _findings_note(check: CheckResult | None) -> str:
    if check is None:
        return "The dataset has not been checked: the stage that does it has not run, or it failed."
    errors = errors_of(check.findings)
    found = f"{counted(errors, 'error')} and {counted(len(check.findings) - errors, 'warning')}"
    passed = all(one.origin != ORIGIN for one in check.findings)
    gate = "The privacy gate found nothing of what it knows of the patients." if passed else ""
    return (
        f"{found} from bids-validator {check.validator_version} and the checks of pacs2bids. {gate}".rstrip()
    )


# ------------------------------------------------------------------------------------- what did not come


def _receipts(sessions: Sequence[SessionSummary]) -> tuple[Fact, ...]:
    receipts = [receipt for session in sessions for receipt in session.receipts]
    if not receipts:
        return ()
    announced = sum(receipt.announced for receipt in receipts)
    missing = sum(receipt.missing for receipt in receipts)
    studies = Counter(receipt.source for receipt in receipts)
    facts = {
        "Whole": f"{sum(one.complete for one in receipts):,} of {counted(len(receipts), 'study', 'studies')}",
        "Instances": f"{announced - missing:,} of {announced:,} announced",
        "Sources": ", ".join(f"{source} ({number:,})" for source, number in studies.most_common()),
    }
    return tuple(Fact(label=label, value=value) for label, value in facts.items())


def _incomplete(sessions: Sequence[SessionSummary]) -> tuple[Group, ...]:
    lines = [
        f"{session.key}: {_lack(receipt)}"
        for session in sessions
        for receipt in session.receipts
        if not receipt.complete
    ]
    return (group(tone=BAD, title="not whole", lines=lines),) if lines else ()


def _lack(receipt: ReceiptCount) -> str:
    if not receipt.missing:
        return "the source counts more instances than it lists"
    return f"{receipt.missing:,} of {receipt.announced:,} instances missing"


def _skipped(sessions: Sequence[SessionSummary]) -> tuple[Group, ...]:
    """By reason, the most frequent first; series of one description, as most are, in one line."""
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for session in sessions:
        for reason, description in session.skipped:
            reasons[reason][description] += 1
    ordered = sorted(reasons.items(), key=lambda entry: -entry[1].total())
    groups = []
    for reason, descriptions in ordered:
        lines = [f"{number:,} × {description}" for description, number in descriptions.most_common()]
        groups.append(
            group(tone=PLAIN, title="series", detail=reason, lines=lines, count=descriptions.total())
        )
    return tuple(groups)


# ------------------------------------------------------------------------------------- made by what


def _provenance(outline: Outline, sessions: Sequence[SessionSummary]) -> tuple[Fact, ...]:
    engines = {engine for session in sessions for engine in session.engines}
    facts = {
        "This page": f"pacs2bids {__version__}",
        "Engine": ", ".join(sorted(engines)),
        "Dataset": str(outline.bids),
        "BIDS": str(outline.description.get("BIDSVersion") or ""),
        "bids-validator": outline.check.validator_version if outline.check else "",
        "Generated by": ", ".join(_generators(outline.description.get("GeneratedBy"))),
    }
    return tuple(Fact(label=label, value=value) for label, value in facts.items() if value)


def _generators(said: Json) -> Iterator[str]:
    for entry in said if isinstance(said, list) else []:
        if isinstance(entry, dict):
            yield f"{entry.get('Name', '')} {entry.get('Version', '')}".strip()
