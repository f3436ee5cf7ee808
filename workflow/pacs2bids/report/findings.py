"""What the checks found, in groups; and which of it is of which session."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from pacs2bids.model import Finding
from pacs2bids.report.view import BAD, FAIR, Group, group

# kinds of findings that nobody has to look into
_RECOMMENDED = ": recommended fields that the headers do not tell; harmless"
HARMLESS = {"JSON_KEY_RECOMMENDED": _RECOMMENDED, "SIDECAR_KEY_RECOMMENDED": _RECOMMENDED}

_SESSION = re.compile(r"/?(?P<subject>sub-[A-Za-z0-9]+)(?:[/_](?P<session>ses-[A-Za-z0-9]+))?(?:/|$)")


def findings_of(found: Sequence[Finding]) -> tuple[Group, ...]:
    """Findings of one kind together, errors first; what follows a slash in a code goes to the line."""
    groups: dict[tuple[bool, str, str], list[Finding]] = defaultdict(list)
    for finding in found:
        groups[finding.severity != "error", finding.origin, finding.code.partition("/")[0]].append(finding)
    return tuple(
        group(
            tone=FAIR if is_warning else BAD,
            title=kind,
            detail=f"{'warning' if is_warning else 'error'} of {origin}" + HARMLESS.get(kind, ""),
            lines=[_line(finding) for finding in of_kind],
        )
        for (is_warning, origin, kind), of_kind in sorted(groups.items())
    )


def _line(finding: Finding) -> str:
    parts = (finding.code.partition("/")[2], finding.location, finding.message)
    return ": ".join(part for part in parts if part)


def errors_of(found: Sequence[Finding]) -> int:
    """How many of them are errors."""
    return sum(finding.severity == "error" for finding in found)


def by_session(found: Sequence[Finding]) -> dict[str, list[Finding]]:
    """Key of a session -> what was found in its files; what is of the whole dataset is in none."""
    sessions: dict[str, list[Finding]] = defaultdict(list)
    for finding in found:
        match = _SESSION.match(finding.location)
        if match:
            sessions["_".join(part for part in match.groups() if part)].append(finding)
    return dict(sessions)
