"""The workdir that a verb is told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pacs2bids.model import ConfigError

if TYPE_CHECKING:
    from pacs2bids.config import Config

CONFIG = Path("config.yaml")
_USUAL = Path("work")


def config_of(path: Path) -> Config | None:
    """The configuration; None where there is none and nobody named another. Raises ConfigError."""
    if path == CONFIG and not path.exists():
        return None
    from pacs2bids.config import load_config  # noqa: PLC0415 - not needed by who is told the workdir

    return load_config(path)


def workdir_of(told: Path | None, config: Path) -> Path:
    """What was told; else the one of the configuration; else, without any, the usual one.

    Raises ConfigError if it is no folder, or for a configuration that cannot be read where it is needed.
    """
    return there(told or of_config(config_of(config)))


def of_config(config: Config | None) -> Path:
    """The one of the configuration; without any, the usual one."""
    return config.workdir if config else _USUAL


def there(workdir: Path) -> Path:
    """The same. Raises ConfigError if it is no folder."""
    if not workdir.is_dir():
        hint = "Give the workdir of the configuration: --workdir FOLDER"
        raise ConfigError("is no folder", where=str(workdir), hint=hint)
    return workdir
