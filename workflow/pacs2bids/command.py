"""The command line.

Each verb is a module of ``verbs`` with ``configure(parser)`` and ``run(arguments) -> str``: the one line of
result that goes to standard output. Only the verb that was asked for is imported, so a start stays cheap.
Warnings and errors go to standard error, everything to ``--log``. Exit codes: 0 done, 1 the work failed,
2 wrong usage or configuration, 130 interrupted (143 by SIGTERM).
"""

from __future__ import annotations

import argparse
import atexit
import errno
import gc
import importlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from pacs2bids import __version__
from pacs2bids.model import Pacs2BidsError

VERBS = {
    "query": "list the studies to convert (by hand or by C-FIND) as studies.tsv",
    "ping": "try whether the sources work for us, and say what is wrong if not",
    "pull": "retrieve one study whole, and write its receipt",
    "verify": "prove again that a study is whole: against the disk, or also against its source",
    "index": "read every header of a study; sort instances into series and stacks",
    "reconstruct": "turn the stacks of a study into NIfTI volumes with sidecars",
    "opinion": "compare the volumes of a study with those that dcm2niix makes of the same files",
    "import-heuristic": "turn a configuration of dcm2bids, or a bidsmap of BIDScoin, into rules",
    "plan": "ask the heuristic for the BIDS names of one session",
    "suggest": "write a file of rules to start from, out of one session",
    "lint": "find mistakes in heuristics, without data",
    "studio": "a page to edit the heuristic on, beside the names that it gives",
    "place": "put the volumes of one session into the BIDS tree",
    "dataset": "write the top-level files of the dataset",
    "check": "validate the dataset",
    "report": "write the page to look at",
    "status": "show where each session stands, and why",
    "conclude": "say how a run ended, and tell whom the configuration names (the workflow calls it)",
    "gc": "show what lies in the workdir for nothing, and remove it",
    "prune": "remove the sessions that left the studies table from dataset and workdir",
    "convert": "turn any folder of DICOM into NIfTI, without workflow and BIDS names",
    "serve": "a small PACS over a folder of DICOM files",
    "phantom": "write a synthetic study set",
    "demo": "the whole line on the phantom, from an embedded PACS to a validated dataset",
}

log = logging.getLogger("pacs2bids")


def done(words: Sequence[str]) -> int:
    """Run one verb; returns the exit code. Raises KeyboardInterrupt."""
    # numpy's library of linear algebra starts a thread a core, which spin at first: nothing here multiplies
    # matrices larger than 4x4, and 0.1 s of CPU is a third of a start
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # at its end Python looks for cycles in all that is left, for 0.05 s; the system takes it back anyway
    atexit.register(gc.freeze)
    # libraries warn of odd values of headers, with the values: what matters of it we say ourselves
    warnings.simplefilter("ignore")
    # descriptions of a console may hold letters that an older terminal or a locale such as latin-1 has not
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return _done(words, debug="--debug" in words)


def _done(words: Sequence[str], *, debug: bool) -> int:
    try:
        line = _run(words)
    except Pacs2BidsError as error:
        return _failed(error, error.exit_code, debug=debug)
    except BrokenPipeError:
        return 1
    except OSError as error:
        return _failed(_of_system(error), 1, debug=debug)
    except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback reaches a user
        what = f"unexpected {type(error).__name__}" + (f": {error}" if debug else "")
        hint = "This is a defect of pacs2bids; run again with --debug and report what it prints"
        return _failed(Pacs2BidsError(what, hint=hint), 1, debug=debug)
    if line:
        print(line, flush=True)  # noqa: T201 - the one line of result
    return 0


def _of_system(error: OSError) -> Pacs2BidsError:
    """What the system refused, where it says, and what to do about a disk that is full."""
    hint = ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = "there" if error.filename else "where workdir, dataset and temporary files (TMPDIR) lie"
        hint = f"Make room {place}, then run again: what is done is kept"
    return Pacs2BidsError(error.strerror or type(error).__name__, where=str(error.filename or ""), hint=hint)


def _run(words: Sequence[str]) -> str:
    parser = _parser(words)
    arguments = parser.parse_args(words)
    _log_to(arguments.log if arguments.verb else None, verbose=bool(arguments.verb and arguments.verbose))
    if not arguments.verb:
        parser.print_help()
        raise SystemExit(2)
    result: str = _module(arguments.verb).run(arguments)
    return result


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pacs2bids", description="From a PACS to a validated BIDS dataset.")
    parser.add_argument("--version", action="version", version=f"pacs2bids {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    asked = next((word for word in words if word in VERBS), None)
    for verb, summary in VERBS.items():
        sub = verbs.add_parser(verb, help=summary, description=summary[0].upper() + summary[1:] + ".")
        sub.add_argument("--log", type=Path, metavar="FILE", help="also write the log, in full, to FILE")
        sub.add_argument("--verbose", "-v", action="store_true", help="say on standard error what is done")
        sub.add_argument("--debug", action="store_true", help="show the traceback of a failure")
        if verb == asked:
            _module(verb).configure(sub)
    return parser


def _module(verb: str) -> ModuleType:
    return importlib.import_module(f"pacs2bids.verbs.{verb.replace('-', '_')}")


def _log_to(path: Path | None, *, verbose: bool) -> None:
    screen = logging.StreamHandler()
    screen.setLevel(logging.INFO if verbose else logging.WARNING)
    screen.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    handlers: list[logging.Handler] = [screen]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(path, mode="w", encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
        handlers.append(file)
    log.handlers = handlers
    log.setLevel(logging.INFO)
    log.propagate = False


def _failed(error: Pacs2BidsError, code: int, *, debug: bool) -> int:
    log.error("%s", error, exc_info=debug)
    return code
