"""``pacs2bids serve``: a small PACS over a folder of DICOM files, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import logging
import re
import signal
import threading
from pathlib import Path

from pacs2bids.model import ConfigError
from pacs2bids.pacs.sender import Destination
from pacs2bids.pacs.server import AE_TITLE, DEFAULT_DESTINATIONS, serving


def configure(parser: argparse.ArgumentParser) -> None:
    """Command line of the verb."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="DICOM files, at any depth")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=4242, help="0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--ae-title", default=AE_TITLE, metavar="AET", help="our title (default: %(default)s)"
    )
    parser.add_argument(
        "--any-title", action="store_true", help="take calls to any title, as some PACS do; else only to ours"
    )
    parser.add_argument(
        "--destination",
        action="append",
        default=[],
        metavar="AET=HOST:PORT",
        help="where a C-MOVE may send to; repeat for several (default: PACS2BIDS=127.0.0.1:11112)",
    )


def run(arguments: argparse.Namespace) -> str:
    """Serve until interrupted.

    Raises ConfigError for a missing folder, a port that is taken, or a destination that is none.
    """
    destinations = dict(_destination(text) for text in arguments.destination) or DEFAULT_DESTINATIONS
    if arguments.debug:
        logging.getLogger("pacs2bids.serve").setLevel(logging.DEBUG)
    stopped = threading.Event()
    with serving(
        arguments.folder,
        host=arguments.host,
        port=arguments.port,
        ae_title=arguments.ae_title,
        destinations=destinations,
        any_title=arguments.any_title,
    ) as pacs:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
        advice = "'pacs2bids query --list' shows its studies; Ctrl-C stops it"
        print(f"{pacs}. {advice}", flush=True)  # noqa: T201 - the line of result; it must come first
        stopped.wait()
    return ""


def _destination(text: str) -> tuple[str, Destination]:
    parts = re.fullmatch(r"([^=]{1,16})=(.+):([0-9]{1,5})", text)
    if parts is None or not 0 < int(parts[3]) < 65536:
        hint = "Write AET=HOST:PORT, as in PACS2BIDS=127.0.0.1:11112"
        raise ConfigError(f"{text!r} is no move destination", where="--destination", hint=hint)
    return parts[1].strip(), Destination(host=parts[2].strip("[]"), port=int(parts[3]))
