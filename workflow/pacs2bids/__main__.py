"""``pacs2bids <verb>``, or ``python -m pacs2bids <verb>``: what ``command`` does, until Ctrl-C."""

from __future__ import annotations

import sys
from collections.abc import Sequence

try:
    from pacs2bids.ending import Ending
except KeyboardInterrupt:  # it has imports of its own
    sys.stderr.write("ERROR: interrupted; run again to go on\n")
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

    logging.getLogger("pacs2bids").error("interrupted; run again to go on")


if __name__ == "__main__":
    sys.exit(main())
