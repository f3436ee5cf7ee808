"""``pacs2bids <verb>``, or ``python -m pacs2bids <verb>``: what ``command`` does, until Ctrl-C.

What Python does before its first line here (``site``, and ``runpy`` of ``-m``) is not ours to interrupt in
one line.
"""

from __future__ import annotations

import sys

_INTERRUPTED = "interrupted; run again to go on"

try:
    from collections.abc import Sequence

    from pacs2bids.ending import Ending
except KeyboardInterrupt:  # it has imports of its own
    sys.stderr.write(f"ERROR: {_INTERRUPTED}\n")
    raise SystemExit(130) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    with Ending(_tell) as ending:
        try:
            # imported here: most of a start is imports, and Ctrl-C may come while they last
            from pacs2bids.command import done  # noqa: PLC0415

            return done(sys.argv[1:] if argv is None else argv)
        except KeyboardInterrupt:
            return ending.told()


def _tell() -> None:
    import logging  # noqa: PLC0415 (as above)

    log = logging.getLogger("pacs2bids")
    if log.handlers:
        log.error(_INTERRUPTED)
    else:  # before the command line was read
        sys.stderr.write(f"ERROR: {_INTERRUPTED}\n")


if __name__ == "__main__":
    sys.exit(main())
