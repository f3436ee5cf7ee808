"""Where the workflow is: beside this package, in its checkout."""

from __future__ import annotations

from pathlib import Path

from pacs2bids.model import ConfigError


def snakefile() -> Path:
    """The Snakefile. Raises ConfigError outside a checkout."""
    path = Path(__file__).resolve().parents[2] / "Snakefile"
    if not path.is_file():
        hint = "Clone the repository and run `make demo` there"
        raise ConfigError("the workflow is not beside this installation", where=str(path), hint=hint)
    return path
