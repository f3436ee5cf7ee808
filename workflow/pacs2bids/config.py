"""``config.yaml``: read, checked whole, and turned into records; one line says what is wrong.

The shape is checked against ``schemas/config.schema.json`` (by ``shape``); what a schema cannot say (a source
that is not defined, a pattern that is no regular expression) is checked here, and in ``config_sources``.
Relative paths stay as they are written: they are relative to the folder where the workflow runs, as
everything in Snakemake.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

from pacs2bids.builtin import heuristic_file
from pacs2bids.conditions import check_keyword, checked_conditions
from pacs2bids.config_sources import secret_of, source_name, sources_of
from pacs2bids.identifiers import KEYWORDS
from pacs2bids.model import RUNS, ConfigError, Defacing, NamingRules, PrivacyRules
from pacs2bids.peers import Conditions, FolderSource, Notify, Source
from pacs2bids.shape import check_shape, suggest
from pacs2bids.studies_table import read_labels, read_table
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
    check_shape(content, path, _schema())
    sources = sources_of(content["sources"], path)
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
    check_shape(
        content, path, {**schema, "required": ["sources"], "properties": parts, "additionalProperties": True}
    )
    sources = sources_of(content["sources"], path)
    asked = []
    for number, query in enumerate(content.get("studies", {}).get("query", ())):
        where = f"{path}: studies.query[{number}]"
        name = source_name(query.get("source"), sources, f"{where}.source")
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
            source_name(row.source or None, config.sources, f"{config.table}, line {row.line}: source")
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


# ------------------------------------------------------------------------------------------------ records


def _query(entry: Mapping[str, Any], sources: Mapping[str, Source], where: str) -> StudyQuery:
    return StudyQuery(
        source=source_name(entry.get("source"), sources, f"{where}.source"),
        match=checked_conditions(entry["match"], f"{where}.match"),
        exclude=tuple(
            checked_conditions(rule, f"{where}.exclude[{number}]")
            for number, rule in enumerate(entry.get("exclude", ()))
        ),
        subject=_label_rule(entry["subject"], "subject", f"{where}.subject"),
        session=_label_rule(entry["session"], "session", f"{where}.session") if "session" in entry else None,
        skip_unlabelled=entry.get("unlabelled", "fail") == "skip",
    )


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
        token=secret_of(entry.get("token")),
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
