"""Who we are to a DICOMweb server: secrets, read when they are needed and nowhere kept."""

from __future__ import annotations

import base64
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from pacs2bids.model import ConfigError
from pacs2bids.peers import Secret, WebPeer

log = logging.getLogger("pacs2bids.web")


def authorization(web: WebPeer) -> dict[str, str]:
    """The header field that says who we are (RFC 6750, RFC 7617); empty if the configuration says nothing.

    Raises ConfigError if the secret cannot be read or cannot stand in a header.
    """
    if web.token is not None:
        return {"Authorization": f"Bearer {_read(web.token, web)}"}
    if web.password is not None:
        pair = f"{web.user}:{_read(web.password, web)}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}
    return {}


def place_of(web: WebPeer) -> str:
    """Where the secret stands, for people: "the file /run/token"; "" if there is none."""
    secret = web.token or web.password
    if secret is None:
        return ""
    return f"the file {secret.file}" if secret.file else f"the environment variable {secret.env}"


def warn_of_exposure(web: WebPeer) -> None:
    """Say once where others may read a secret: in its file, or on the network."""
    secret = web.token or web.password
    if secret is None:
        return
    if secret.file is not None and _is_readable_by_all(secret.file):
        log.warning("%s can be read by everybody on this machine; protect it: chmod 600", place_of(web))


def _is_readable_by_all(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:  # to be told when it is read
        return False


def _read(secret: Secret, web: WebPeer) -> str:
    text = _first_line(secret.file, web) if secret.file else _variable(secret.env, os.environ, web)
    if not text.isprintable() or (web.token is not None and (not text.isascii() or " " in text)):
        raise ConfigError(
            f"{place_of(web)} holds characters that no secret has",
            where=str(web),
            hint="It must hold the bare secret in its first line, without quotes or a word before it",
        )
    return text


def _first_line(path: Path, web: WebPeer) -> str:
    hint = "Check the path and the permission, or ask those who run the server for a secret"
    try:
        text = path.read_text(encoding="utf-8-sig").partition("\n")[0].strip()
    except OSError as error:
        what = f"the file {path} cannot be read: {error.strerror}"
        raise ConfigError(what, where=str(web), hint=hint) from None
    except UnicodeDecodeError:
        raise ConfigError(f"the file {path} is no text", where=str(web), hint=hint) from None
    if not text:
        raise ConfigError(f"the first line of the file {path} is empty", where=str(web), hint=hint)
    return text


def _variable(name: str, environment: Mapping[str, str], web: WebPeer) -> str:
    text = environment.get(name, "").strip()
    if not text:
        hint = f"Set it where pacs2bids runs: read -rs {name} && export {name}"
        raise ConfigError(f"the environment variable {name} is not set", where=str(web), hint=hint)
    return text
