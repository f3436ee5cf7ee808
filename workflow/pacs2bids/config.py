"""``config.yaml``: read, checked whole, and turned into records; one line says what is wrong.

The shape is checked against ``schemas/config.schema.json``; what a schema cannot say (a source that is not
defined, a pattern that is no regular expression) is checked here. Relative paths stay as they are written:
they are relative to the folder where the workflow runs, as everything in Snakemake.
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import time
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from pacs2bids.builtin import heuristic_file
from pacs2bids.conditions import check_keyword, checked_conditions
from pacs2bids.identifiers import KEYWORDS
from pacs2bids.model import RUNS, ConfigError, Defacing, NamingRules, PrivacyRules
from pacs2bids.peers import (
    GET,
    MOVE,
    WADO,
    Conditions,
    Courtesy,
    FolderSource,
    Notify,
    PacsPeer,
    Secret,
    Slot,
    Source,
    Tls,
    WebPeer,
)
from pacs2bids.studies_table import read_labels, read_table
from pacs2bids.text import listed
from pacs2bids.yaml_text import NoYamlError, load


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRule:
    """How a BIDS label follows from a DICOM attribute.

    ``attribute``: keyword. ``pattern``: regular expression, searched in the attribute's value, whose group
    ``group`` is the label. ``table``: a file that gives each value its label, in its column ``group``.
    With neither the whole value is the label.
    """

    attribute: str
    pattern: re.Pattern[str] | None
    group: str
    table: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyQuery:
    """A question for studies: what must match, which of them are not meant, where the labels come from.

    ``exclude``: a study that satisfies any of these is left out. ``skip_unlabelled``: so is one that gets no
    label; else it is an error.
    """

    source: str
    match: Conditions
    exclude: tuple[Conditions, ...]
    subject: LabelRule
    session: LabelRule | None
    skip_unlabelled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDataset:
    """Where the DICOM files can be had, for those who may; "" where left out."""

    url: str = ""
    doi: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """What a person says about the dataset, for ``dataset_description.json``; "" and () where left out."""

    name: str
    authors: tuple[str, ...] = ()
    license: str = ""
    acknowledgements: str = ""
    how_to_acknowledge: str = ""
    funding: tuple[str, ...] = ()
    ethics_approvals: tuple[str, ...] = ()
    references_and_links: tuple[str, ...] = ()
    doi: str = ""
    source_datasets: tuple[SourceDataset, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration. Either ``table`` (written by hand) or ``queries`` tells the studies.

    ``heuristic``: a file, or the name of a built-in. ``seqinfo``: how a Python file sees series. ``scratch``:
    folder for temporary files of jobs, with variables of the machine that a job runs on. ``keep``: what of a
    study stays in the workdir once it is in the dataset.
    """

    workdir: Path
    bids: Path
    report: Path
    heuristic: Path
    sources: dict[str, Source]
    table: Path | None
    queries: tuple[StudyQuery, ...]
    dataset: DatasetInfo
    naming: NamingRules
    privacy: PrivacyRules
    deface: Defacing
    gzip: str
    philips_values: str
    on_broken_series: str
    on_heuristic_error: str
    second_opinion: str
    dates: str
    participants: Path | None
    seqinfo: str
    fieldmaps: str
    fieldmap_shims: str
    events: str
    notify: Notify | None
    scratch: str | None
    keep: str

    def memory(self, source: str) -> Path:
        """Where it is recorded what the files of a source held when they were read last."""
        return self.workdir / "sources" / f"{source}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcesOnly:
    """The sources of a configuration that may be unfinished; ``asked``: source and match of its queries."""

    sources: dict[str, Source]
    asked: tuple[tuple[str, Conditions], ...]


def load_config(path: Path) -> Config:
    """Read and check a configuration.

    Raises ConfigError, one line that names the file, the key, what is wrong and what is allowed.
    """
    content = _read_yaml(path)
    _check_shape(content, path, _schema())
    sources = _sources(content["sources"], path)
    studies = content["studies"]
    config = Config(
        workdir=Path(content.get("workdir", "work")),
        bids=Path(content.get("bids", "bids")),
        report=Path(content.get("report", "report.html")),
        heuristic=Path(content["heuristic"]),
        sources=sources,
        table=Path(studies["table"]) if "table" in studies else None,
        queries=tuple(
            _query(entry, sources, f"{path}: studies.query[{number}]")
            for number, entry in enumerate(studies.get("query", ()))
        ),
        dataset=_dataset(content["dataset"]),
        naming=_naming(content.get("naming", {})),
        deface=_deface(content.get("deface", {})),
        privacy=_privacy(content.get("privacy", {}), f"{path}: privacy"),
        gzip=content.get("gzip", "fast"),
        philips_values=content.get("philips_values", "precise"),
        on_broken_series=content.get("on_broken_series", "fail"),
        on_heuristic_error=content.get("on_heuristic_error", "fail"),
        second_opinion=content.get("second_opinion", "none"),
        dates=content.get("dates", "shift"),
        participants=Path(content["participants"]) if "participants" in content else None,
        seqinfo=content.get("seqinfo", "pacs2bids"),
        fieldmaps=content.get("fieldmaps", "both"),
        fieldmap_shims=content.get("fieldmap_shims", "same"),
        events=content.get("events", "none"),
        notify=_notify(content["notify"], f"{path}: notify") if "notify" in content else None,
        scratch=content.get("scratch"),
        keep=content.get("keep", "dicom"),
    )
    _check_folders(config, path)
    return config


def load_sources(path: Path) -> SourcesOnly:
    """Read what a configuration that is still being written says of sources, and of what to ask them.

    Raises ConfigError as ``load_config`` does, for these parts.
    """
    content = _without_gaps(_read_yaml(path))
    schema = _schema()
    entry = {key: schema["$defs"]["query"]["properties"][key] for key in ("source", "match")}
    queries = {"type": "array", "items": {"type": "object", "properties": entry}}
    parts = {
        "sources": schema["properties"]["sources"],
        "studies": {"type": "object", "properties": {"query": queries}},
    }
    _check_shape(
        content, path, {**schema, "required": ["sources"], "properties": parts, "additionalProperties": True}
    )
    sources = _sources(content["sources"], path)
    asked = []
    for number, query in enumerate(content.get("studies", {}).get("query", ())):
        where = f"{path}: studies.query[{number}]"
        name = _source_name(query.get("source"), sources, f"{where}.source")
        asked.append((name, checked_conditions(query.get("match", {}), f"{where}.match")))
    return SourcesOnly(sources=sources, asked=tuple(asked))


def require_files(config: Config, path: Path) -> None:
    """Check the files a person must have written, before anything runs: the table, and that all are there.

    Whether the sources have those studies is for ``query`` to find out. Raises ConfigError.
    """
    if config.table is not None and not config.table.is_file():
        what = f"there is no file {config.table}"
        hint = "Write this table (StudyInstanceUID, subject, session), or ask the PACS with studies.query"
        raise ConfigError(what, where=f"{path}: studies.table", hint=hint)
    require_heuristic(config, path)
    if config.participants is not None and not config.participants.is_file():
        what = f"there is no file {config.participants}"
        hint = "Write this table: participant_id and columns of your choice, separated by tabs"
        raise ConfigError(what, where=f"{path}: participants", hint=hint)
    if config.table is not None:
        for row in read_table(config.table):
            _source_name(row.source or None, config.sources, f"{config.table}, line {row.line}: source")
    for rule in label_rules(config):
        if rule.table is not None:
            read_labels(rule.table, rule.attribute, rule.group)


def require_heuristic(config: Config, path: Path) -> None:
    """Check that the heuristic is there. Raises ConfigError."""
    where = f"{path}: heuristic"
    if not heuristic_file(config.heuristic, where=where).is_file():
        what = f"there is no file {config.heuristic}"
        raise ConfigError(what, where=where, hint="Start from heuristics/demo.py")


def label_rules(config: Config) -> list[LabelRule]:
    """The rules of all queries."""
    both = [rule for query in config.queries for rule in (query.subject, query.session)]
    return [rule for rule in both if rule is not None]


# ------------------------------------------------------------------------------------------------ reading


def _read_yaml(path: Path) -> Any:
    try:
        return load(path)
    except NoYamlError as error:
        where = str(path) if error.line is None else f"{path}, line {error.line}"
        is_there = "Run in the folder that holds config.yaml, or name another file"
        raise ConfigError(error.what, where=where, hint=error.hint if path.is_file() else is_there) from None


# ------------------------------------------------------------------------------------------------ the schema


def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(
        files("pacs2bids").joinpath("schemas/config.schema.json").read_bytes()
    )
    return schema


def _without_gaps(content: Any) -> Any:
    """The same without the keys that have no value yet."""
    if isinstance(content, dict):
        return {key: _without_gaps(value) for key, value in content.items() if value is not None}
    return [_without_gaps(value) for value in content] if isinstance(content, list) else content


def _check_shape(content: object, path: Path, schema: Mapping[str, Any]) -> None:
    errors = sorted(
        Draft202012Validator(schema).iter_errors(content),
        key=lambda error: (len(error.absolute_path), error.validator != "additionalProperties"),
    )
    if not errors:
        return
    first, *rest = errors
    what, hint = _explain(first)
    if rest:
        others = [f"{_key_path(one)} {_explain(one)[0]}".strip() for one in rest]
        what = f"{what} (and {listed(others, 1, separator='; ')})"
    key = _key_path(first)
    raise ConfigError(what, where=f"{path}: {key}" if key else str(path), hint=hint)


def _key_path(error: ValidationError) -> str:
    text = ""
    for step in error.absolute_path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _explain(error: ValidationError) -> tuple[str, str]:
    """What is wrong and what is allowed, in a person's words; ``error.message`` speaks of JSON schemas."""
    rule, value, found = str(error.validator), cast(Any, error.validator_value), cast(Any, error.instance)
    schema = cast("Mapping[str, Any]", error.schema)
    if rule == "additionalProperties":
        allowed = list(schema["properties"])
        unknown = next(key for key in found if key not in allowed)
        return f"unknown key {_shown(unknown)}", suggest(str(unknown), allowed)
    if rule == "enum":
        return f"{_shown(found)} is not allowed", ". ".join([suggest(str(found), value), *_described(schema)])
    if schema.get("writeOnly"):  # what stands there may be a secret
        return f"must be {schema['description']}", ""
    example = [f"As in: {_flow(one)}" for one in schema.get("examples", ())]
    return _explain_value(rule, value, found, schema), ". ".join(example)


def _flow(value: object) -> str:
    """A value as a person may write it in YAML, on one line."""
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000).strip()


def _described(schema: Mapping[str, Any]) -> list[str]:
    return [schema["description"]] if "description" in schema else []


def _explain_value(rule: str, value: Any, found: Any, schema: Mapping[str, Any]) -> str:
    if rule == "required":
        missing = next(key for key in value if key not in found)
        return f"the key {missing!r} is missing"
    if rule == "type":
        return f"must be {_type_names(value)}, not {_shown(found)}"
    if rule in ("minimum", "maximum"):
        return f"must be from {schema['minimum']} to {schema['maximum']}, not {found}"
    if rule == "pattern":
        public = re.sub(r"//[^/]*@", "//...@", found)  # an address may hold a password
        return f"must be {schema['description']}, not {_shown(public)}"
    if rule in ("minProperties", "maxProperties") and "properties" in schema:
        return f"must hold one of the keys {_listed(schema['properties'])}, and no other"
    return "must not be empty"


def _type_names(types: str | list[str]) -> str:
    words = {
        "object": "keys with values",
        "array": "a list",
        "string": "a text",
        "integer": "a whole number",
    }
    return " or ".join(words[name] for name in ([types] if isinstance(types, str) else types))


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "keys with values"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    return "empty" if value is None else repr(value)


def suggest(word: str, allowed: Iterable[str]) -> str:
    """A hint for a misspelt word: the closest of those allowed, or all of them."""
    words = list(allowed)
    close = difflib.get_close_matches(word, words, n=1)
    return f"Did you mean {close[0]!r}? Allowed: {_listed(words)}" if close else f"Allowed: {_listed(words)}"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)


# ------------------------------------------------------------------------------------------------ records


def _sources(entries: Mapping[str, Any], path: Path) -> dict[str, Source]:
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
        token=_secret(entry.get("token")),
        user=entry.get("user", ""),
        password=_secret(entry.get("password")),
        tls=_tls(entry.get("tls", {}), f"{where}.tls"),
        courtesy=courtesy,
    )


def _secret(entry: Mapping[str, str] | None) -> Secret | None:
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


def _query(entry: Mapping[str, Any], sources: Mapping[str, Source], where: str) -> StudyQuery:
    return StudyQuery(
        source=_source_name(entry.get("source"), sources, f"{where}.source"),
        match=checked_conditions(entry["match"], f"{where}.match"),
        exclude=tuple(
            checked_conditions(rule, f"{where}.exclude[{number}]")
            for number, rule in enumerate(entry.get("exclude", ()))
        ),
        subject=_label_rule(entry["subject"], "subject", f"{where}.subject"),
        session=_label_rule(entry["session"], "session", f"{where}.session") if "session" in entry else None,
        skip_unlabelled=entry.get("unlabelled", "fail") == "skip",
    )


def _source_name(name: str | None, sources: Mapping[str, Source], where: str) -> str:
    if name is None and len(sources) == 1:
        return next(iter(sources))
    if name is None:
        hint = f"Allowed: {_listed(sources)}"
        raise ConfigError("is missing, and there are several sources", where=where, hint=hint)
    if name not in sources:
        raise ConfigError(f"no source is called {name!r}", where=where, hint=suggest(name, sources))
    return name


def _label_rule(entry: Mapping[str, str], group: str, where: str) -> LabelRule:
    check_keyword(entry["from"], f"{where}.from")
    if "pattern" not in entry:
        table = Path(entry["table"]) if "table" in entry else None
        return LabelRule(attribute=entry["from"], pattern=None, group=group, table=table)
    if "table" in entry:
        raise ConfigError("'pattern' stands beside 'table'", where=where, hint="Write one of them")
    try:
        pattern = re.compile(entry["pattern"])
    except re.error as error:
        what = f"is no regular expression: {error.msg} at character {(error.pos or 0) + 1}"
        raise ConfigError(what, where=f"{where}.pattern") from None
    if group not in pattern.groupindex:
        hint = f"Mark the part that is the label: (?P<{group}>...)"
        raise ConfigError(f"has no group named {group!r}", where=f"{where}.pattern", hint=hint)
    return LabelRule(attribute=entry["from"], pattern=pattern, group=group)


def _naming(entry: Mapping[str, str]) -> NamingRules:
    return NamingRules(
        runs=RUNS[entry.get("runs", "as_written")],
        short_runs=entry.get("short_runs", "keep"),
        computed_maps=entry.get("computed_maps", "skip"),
    )


def _notify(entry: Mapping[str, Any], where: str) -> Notify:
    if not ("webhook" in entry or "mail" in entry):
        raise ConfigError("must hold 'webhook' or 'mail'", where=where)
    if "token" in entry and "webhook" not in entry:
        raise ConfigError("'token' needs 'webhook' beside it", where=where)
    mail = entry.get("mail", "")
    try:
        shlex.split(mail)
    except ValueError as error:
        raise ConfigError(f"is no command: {error}", where=f"{where}.mail") from None
    return Notify(
        webhook=entry.get("webhook", ""),
        token=_secret(entry.get("token")),
        mail=mail,
        when=entry.get("when", "problems"),
    )


def _deface(entry: Mapping[str, Any]) -> Defacing:
    defaults = Defacing()
    return Defacing(command=entry.get("command", ""), names=tuple(entry.get("names", defaults.names)))


def _privacy(entry: Mapping[str, Any], where: str) -> PrivacyRules:
    pseudonyms = tuple(entry.get("pseudonyms", ()))
    for number, keyword in enumerate(pseudonyms):
        if keyword not in KEYWORDS:
            what = f"{keyword!r} is none of the attributes that the gate looks for"
            raise ConfigError(what, where=f"{where}.pseudonyms[{number}]", hint=suggest(keyword, KEYWORDS))
    return PrivacyRules(**{**entry, "pseudonyms": pseudonyms, "words": tuple(entry.get("words", ()))})


def _dataset(entry: Mapping[str, str | Sequence[str]]) -> DatasetInfo:
    """The schema has checked every key and type."""
    values = {key: value if isinstance(value, str) else tuple(value) for key, value in entry.items()}
    sources = cast(Sequence[Mapping[str, str]], values.pop("source_datasets", ()))
    datasets = tuple(SourceDataset(**source) for source in sources)
    return DatasetInfo(**values, source_datasets=datasets)  # type: ignore[arg-type]


def _check_folders(config: Config, path: Path) -> None:
    """The dataset is for others: nothing that identifies a patient may lie inside it, nor it in there."""
    bids = config.bids.absolute()
    for key, other in (("workdir", config.workdir), ("report", config.report)):
        if other.absolute().is_relative_to(bids):
            hint = "Give it a place of its own, such as " + ("work" if key == "workdir" else "report.html")
            raise ConfigError(f"lies inside the dataset {config.bids}", where=f"{path}: {key}", hint=hint)
    workdir = config.workdir.resolve()
    for name, source in config.sources.items():
        is_inside = isinstance(source, FolderSource) and source.path.resolve().is_relative_to(workdir)
        if is_inside and config.keep != "dicom":
            what, hint = f"lies inside {config.workdir}, where `keep` removes files", "Move it out of there"
            raise ConfigError(what, where=f"{path}: sources.{name}.path", hint=hint)
