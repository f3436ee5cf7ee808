"""The sources of ``config.yaml``: entries whose shape is checked, to records of peers and folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import time
from pathlib import Path
from typing import Any

from pacs2bids.model import ConfigError
from pacs2bids.peers import (
    GET,
    MOVE,
    WADO,
    Courtesy,
    FolderSource,
    PacsPeer,
    Secret,
    Slot,
    Source,
    Tls,
    WebPeer,
)
from pacs2bids.shape import suggest


def sources_of(entries: Mapping[str, Any], path: Path) -> dict[str, Source]:
    """Sources by name. ``path``: of the configuration. Raises ConfigError, which names the key."""
    return {name: _source(name, entry, f"{path}: sources.{name}") for name, entry in entries.items()}


def _source(name: str, entry: Mapping[str, Any], where: str) -> Source:
    if entry["kind"] == "folder":
        return FolderSource(name=name, path=Path(entry["path"]))
    if entry["kind"] == "dicomweb":
        return _web(name, entry, _courtesy(entry.get("courtesy", {}), f"{where}.courtesy"), where)
    calling = entry.get("calling_ae_title", "PACS2BIDS")
    courtesy = _courtesy(entry.get("courtesy", {}), f"{where}.courtesy")
    web = _web(name, entry["dicomweb"], courtesy, f"{where}.dicomweb") if "dicomweb" in entry else None
    return PacsPeer(
        name=name,
        host=entry["host"],
        port=entry["port"],
        ae_title=entry["ae_title"],
        calling_ae_title=calling,
        retrieve=_ways(entry.get("retrieve", MOVE), web, f"{where}.retrieve"),
        slots=_slots(entry, calling, where),
        receive_host=entry.get("receive_host", ""),
        tls=_tls(entry["tls"], f"{where}.tls") if "tls" in entry else None,
        web=web,
        courtesy=courtesy,
    )


def _ways(said: str | Sequence[str], web: WebPeer | None, where: str) -> tuple[str, ...]:
    """The ways to retrieve in the order of trial; "auto" is the fastest first."""
    if said == "auto":
        return (GET, MOVE) if web is None else (WADO, GET, MOVE)
    ways = (said,) if isinstance(said, str) else tuple(said)
    if WADO in ways and web is None:
        hint = "Give the root of the PACS's DICOMweb service as dicomweb: {url: ...}"
        raise ConfigError("wado needs the key 'dicomweb' beside it", where=where, hint=hint)
    return ways


def _slots(entry: Mapping[str, Any], calling: str, where: str) -> tuple[Slot, ...]:
    if "slots" not in entry:
        title = entry.get("receive_ae_title", calling)
        return (Slot(ae_title=title, port=entry.get("receive_port", 11112)),)
    for key in ("receive_ae_title", "receive_port"):
        if key in entry:
            hint = "List all destinations under slots, or write one as receive_ae_title and receive_port"
            raise ConfigError(f"{key!r} stands beside 'slots'", where=where, hint=hint)
    slots = tuple(Slot(ae_title=one["ae_title"], port=one["port"]) for one in entry["slots"])
    if len({one.port for one in slots}) < len(slots) or len({one.ae_title for one in slots}) < len(slots):
        hint = "A pull is known by its title, and listens on its port: each slot needs its own"
        raise ConfigError("an AE title or port stands there twice", where=f"{where}.slots", hint=hint)
    return slots


def _tls(entry: Mapping[str, str], where: str) -> Tls:
    if ("key" in entry) != ("certificate" in entry):
        raise ConfigError("'certificate' and 'key' need each other", where=where)
    files = {key: Path(path) for key, path in entry.items() if key != "server_name"}
    return Tls(**files, server_name=entry.get("server_name", ""))


def _web(name: str, entry: Mapping[str, Any], courtesy: Courtesy, where: str) -> WebPeer:
    if ("user" in entry) != ("password" in entry) or ("user" in entry and "token" in entry):
        hint = "Write either token, or user and password; each secret as {file: ...} or {env: ...}"
        raise ConfigError("must hold 'user' and 'password', or 'token'", where=where, hint=hint)
    return WebPeer(
        name=name,
        url=entry["url"].rstrip("/"),
        token=secret_of(entry.get("token")),
        user=entry.get("user", ""),
        password=secret_of(entry.get("password")),
        tls=_tls(entry.get("tls", {}), f"{where}.tls"),
        courtesy=courtesy,
    )


def secret_of(entry: Mapping[str, str] | None) -> Secret | None:
    """Where a secret is to be read; None if there is no such entry."""
    if entry is None:
        return None
    return Secret(file=Path(entry["file"]) if "file" in entry else None, env=entry.get("env", ""))


def _courtesy(entry: Mapping[str, Any], where: str) -> Courtesy:
    hours = None
    if "hours" in entry:
        start, end = (time.fromisoformat(text.strip()) for text in entry["hours"].split("-"))
        if start == end:
            hint = "Leave the key out to pull at any hour"
            raise ConfigError("begins when it ends", where=f"{where}.hours", hint=hint)
        hours = (start, end)
    defaults = Courtesy()
    return Courtesy(
        hours=hours,
        pause_s=float(entry.get("pause_s", defaults.pause_s)),
        moves=entry.get("moves", defaults.moves),
        retries=entry.get("retries", defaults.retries),
    )


def source_name(name: str | None, sources: Mapping[str, Source], where: str) -> str:
    """The source that is meant: by name, or the only one. Raises ConfigError if that is none."""
    if name is None and len(sources) == 1:
        return next(iter(sources))
    if name is None:
        hint = f"Allowed: {', '.join(sources)}"
        raise ConfigError("is missing, and there are several sources", where=where, hint=hint)
    if name not in sources:
        raise ConfigError(f"no source is called {name!r}", where=where, hint=suggest(name, sources))
    return name
