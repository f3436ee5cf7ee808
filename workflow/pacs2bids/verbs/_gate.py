"""What the gate looks for in the files of a session, by what is known of its studies and what may leave."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pacs2bids.config import load_config
from pacs2bids.dates import KEEP
from pacs2bids.files import read_record
from pacs2bids.gate import Needles, needles_of
from pacs2bids.model import HeaderError, Identity, PrivacyRules
from pacs2bids.owned import session_labels

OF_HEADERS, OF_PACS = "identity.json", "identity.pacs.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What may leave. ``are_derived``: labels follow by a rule from attributes: so they are meant to.

    ``dates``: those of scans are hidden.
    """

    rules: PrivacyRules = field(default_factory=PrivacyRules)
    are_derived: bool = False
    dates: bool = True


def policy_of(config_path: Path | None, dates: str) -> Policy:
    """By the configuration, if there is one. ``dates``: how they are hidden. Raises ConfigError."""
    if config_path is None:
        return Policy(dates=dates != KEEP)
    config = load_config(config_path)
    return Policy(
        rules=config.privacy,
        are_derived=any(query.subject.table is None for query in config.queries),
        dates=dates != KEEP,
    )


def needles_of_session(session_key: str, study_dirs: Iterable[Path], policy: Policy) -> Needles:
    """What identifies the patient of these studies. Raises HeaderError if it is not known of one."""
    needles = needles_of(
        [one for folder in study_dirs for one in _identities(folder)],
        pseudonyms=policy.rules.pseudonyms,
        dates=policy.dates,
    )
    labels = session_labels(session_key) if policy.are_derived else ()
    return needles.without([*policy.rules.words, *labels])


def _identities(study: Path) -> list[Identity]:
    of_headers, of_pacs = study / OF_HEADERS, study / OF_PACS
    if not of_headers.exists():
        what = "is missing: what identifies the patient is not known, so that nothing can be placed"
        hint = "Run the index stage again: `snakemake --forcerun index`"
        raise HeaderError(what, where=str(of_headers), hint=hint)
    known = [read_record(of_headers, Identity)]
    return [*known, read_record(of_pacs, Identity)] if of_pacs.exists() else known
