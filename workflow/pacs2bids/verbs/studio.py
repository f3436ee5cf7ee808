"""``pacs2bids studio``: a page with the heuristic beside the plans that it makes, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import webbrowser
from pathlib import Path

from pacs2bids.config import Config
from pacs2bids.gate import Needles
from pacs2bids.roster import Session
from pacs2bids.studio.desk import Desk
from pacs2bids.studio.server import StudioServer, listening
from pacs2bids.verbs._gate import needles_to_blot, policy_in


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--config", type=Path, default=Path("config.yaml"), metavar="FILE", help="default: config.yaml"
    )
    parser.add_argument("--port", type=int, default=0, metavar="N", help="default: one that is free")
    parser.add_argument(
        "--session",
        nargs="+",
        default=[],
        metavar="KEY",
        help="begin with these sessions, as in sub-01_ses-a, or subjects; default: the first 20",
    )
    parser.add_argument("--no-open", action="store_true", help="do not open a browser")


def run(arguments: argparse.Namespace) -> str:
    """Serve the page until it is interrupted.

    Raises ConfigError for a configuration, a session or a port that does not do, HeuristicError for a
    heuristic that cannot be read.
    """
    heed_signals()
    with tempfile.TemporaryDirectory(prefix="pacs2bids-studio-") as folder:
        desk = Desk(arguments.config, folder=Path(folder), needles_of=_needles, only=arguments.session)
        try:
            with listening(desk, arguments.port) as server:
                desk.start()
                _serve(server, is_opened=not arguments.no_open)
        finally:
            desk.close()
    return "studio: ended"


def heed_signals() -> None:
    """End in order when the terminal is closed; let Ctrl-C and Stop reach what we start."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    # a script that starts us with & has it ignored, and so would the run of snakemake, which Stop interrupts
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _needles(config: Config, session: Session) -> Needles:
    return needles_to_blot(session.key, session.studies, policy_in(config))


def _serve(server: StudioServer, *, is_opened: bool) -> None:
    print(f"{server.url}\nThis page is for you alone. Ctrl-C ends it.", flush=True)  # noqa: T201 (must come first)
    if is_opened and _has_screen():
        threading.Thread(target=webbrowser.open, args=(server.ticket_url,), daemon=True).start()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return


def _has_screen() -> bool:
    """Else what opens would be a browser of text, in this very terminal."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
