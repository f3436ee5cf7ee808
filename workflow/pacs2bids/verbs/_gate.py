"""What the gate looks for in the files of a session, by what is known of its studies and what may leave."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pacs2bids.dates import KEEP
from pacs2bids.files import read_record
from pacs2bids.gate import NOTHING, Needles, needles_of, together
from pacs2bids.identifiers import OF_HEADERS, OF_PACS
from pacs2bids.leaks import Known
from pacs2bids.model import Defacing, HeaderError, Identity, PlacedSession, PrivacyRules
from pacs2bids.owned import session_labels

if TYPE_CHECKING:
    from pacs2bids.config import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What may leave. ``are_derived``: labels follow by a rule from attributes: so they are meant to.

    ``dates``: those of scans are hidden.
    """

    rules: PrivacyRules = field(default_factory=PrivacyRules)
    defacing: Defacing = field(default_factory=Defacing)
    are_derived: bool = False
    dates: bool = True


UNCONFIGURED = Policy()


def policy_of(config_path: Path | None, dates: str | None = None) -> Policy:
    """By the configuration, if there is one. ``dates``: how they are hidden, if not as it says.

    Raises ConfigError.
    """
    if config_path is None:
        return Policy(dates=dates != KEEP)
    # imported here: it takes longer than to plan a session, which asks without it
    from pacs2bids.config import load_config  # noqa: PLC0415

    return policy_in(load_config(config_path), dates)


def policy_in(config: Config, dates: str | None = None) -> Policy:
    """As ``policy_of``, of a configuration that is read already."""
    return Policy(
        rules=config.privacy,
        defacing=config.deface,
        are_derived=any(query.subject.table is None for query in config.queries),
        dates=(dates or config.dates) != KEEP,
    )


def known_of(workdir: Path, placed: Iterable[PlacedSession], policy: Policy) -> Known:
    """What identifies the patients of these sessions. Raises HeaderError if it is not known of one."""
    subjects: dict[str, list[Needles]] = {}
    owners: dict[str, str] = {}
    for one in placed:
        studies = {volume.partition("/")[0] for volume in one.volumes.values()}
        owners |= dict.fromkeys(studies, f"sub-{one.subject}")
        folders = [workdir / "studies" / study for study in sorted(studies)]
        needles = needles_of_session(one.session_key, folders, policy)
        subjects.setdefault(f"sub-{one.subject}", []).append(needles)
    each = {subject: together(some) for subject, some in subjects.items()}
    return Known(subjects=each, everyone=together(each.values()).whole, studies=owners)


def needles_of_session(session_key: str | None, study_dirs: Iterable[Path], policy: Policy) -> Needles:
    """What identifies the patient of these studies. Raises HeaderError if it is not known of one.

    ``session_key``: None if they are of no session yet.
    """
    needles = needles_of(
        [one for folder in study_dirs for one in _identities(folder)],
        pseudonyms=policy.rules.pseudonyms,
        dates=policy.dates,
    )
    labels = session_labels(session_key) if policy.are_derived and session_key else ()
    return needles.without([*policy.rules.words, *labels])


def needles_to_blot(
    session_key: str | None, study_dirs: Iterable[Path], policy: Policy = UNCONFIGURED
) -> Needles:
    """What people are not shown of a session. Its labels, UIDs and days of scans are; nothing is looked for
    in studies of which it is not known who the patient is, as those that an earlier version indexed.
    """
    known = [folder for folder in study_dirs if (folder / OF_HEADERS).exists()]
    try:
        needles = needles_of_session(session_key, known, replace(policy, are_derived=True, dates=False))
    except HeaderError:
        return NOTHING
    return replace(needles, uids=False) if needles.known else NOTHING


def _identities(study: Path) -> list[Identity]:
    of_headers, of_pacs = study / OF_HEADERS, study / OF_PACS
    if not of_headers.exists():
        what = "is missing: what identifies the patient is not known, so that nothing can be placed"
        hint = "Run the index stage again: `snakemake --forcerun index`"
        raise HeaderError(what, where=str(of_headers), hint=hint)
    known = [read_record(of_headers, Identity)]
    return [*known, read_record(of_pacs, Identity)] if of_pacs.exists() else known
