"""Which sessions a plan is asked for: study folders and labels by hand, or those of the studies table."""

from __future__ import annotations

import argparse
from pathlib import Path

from pacs2bids.bids import BidsName
from pacs2bids.model import ConfigError
from pacs2bids.roster import Session


def add_sessions(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "studies", nargs="*", type=Path, metavar="STUDY", help="folders that hold index.json; with --subject"
    )
    parser.add_argument("--subject", metavar="LABEL", help="subject, without 'sub-'")
    parser.add_argument(
        "--session", default="", metavar="LABEL", help="session, without 'ses-', if there is one"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="SESSION",
        help="without STUDY: these of all, as in sub-01_ses-a",
    )


def session_by_hand(arguments: argparse.Namespace) -> Session:
    """The one session that the arguments describe. Raises ConfigError for labels that BIDS does not allow."""
    if not arguments.subject:
        raise ConfigError("whose studies are they?", where="--subject", hint="Add --subject 01")
    name = BidsName(subject=arguments.subject, session=arguments.session, datatype="anat", suffix="T1w")
    if problems := name.problems():
        raise ConfigError("; ".join(problems), where="--subject, --session")
    return Session(subject=arguments.subject, session=arguments.session, studies=tuple(arguments.studies))
