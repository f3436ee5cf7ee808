"""config.yaml: what is read, and that each wrong key or value is answered with one line that names it."""

from __future__ import annotations

from datetime import time
from pathlib import Path

import pytest

from pacs2bids.config import load_config, load_sources, require_files
from pacs2bids.model import ConfigError, NamingRules
from pacs2bids.peers import Courtesy, FolderSource, PacsPeer, Secret, Slot, Tls, WebPeer

GOOD = """\
heuristic: heuristics/mine.py
sources:
  main: {kind: pacs, host: pacs.example, port: 104, ae_title: ARCHIVE}
  disk: {kind: folder, path: /media/disk}
studies:
  query:
    - source: main
      match: {StudyDate: 20260101-, PatientID: 007, ModalitiesInStudy: MR, StudyDescription: no}
      subject: {from: PatientID, pattern: '^P(?P<subject>[0-9]+)$'}
      session: {from: StudyDescription}
dataset:
  name: A study
  authors: [One Author, Another]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_everything_is_read(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, GOOD))
    assert config.sources["main"] == PacsPeer(
        name="main",
        host="pacs.example",
        port=104,
        ae_title="ARCHIVE",
        calling_ae_title="PACS2BIDS",
        retrieve=("move",),
        slots=(Slot(ae_title="PACS2BIDS", port=11112),),
    )
    assert config.sources["disk"] == FolderSource(name="disk", path=Path("/media/disk"))
    assert (config.workdir, config.bids, config.report) == (Path("work"), Path("bids"), Path("report.html"))
    assert config.table is None
    (query,) = config.queries
    assert query.subject.pattern is not None
    assert query.subject.pattern.groupindex == {"subject": 1}
    assert query.session is not None
    assert query.session.pattern is None
    assert config.dataset.authors == ("One Author", "Another")


def test_texts_stay_texts(tmp_path: Path) -> None:
    """YAML 1.1 reads 007 as 7 and no as false: the PACS would be asked for the wrong patient."""
    match = load_config(written(tmp_path, GOOD)).queries[0].match
    assert match["PatientID"] == ("007",)
    assert match["StudyDescription"] == ("no",)


def test_calling_title_is_the_receiving_one_by_default(tmp_path: Path) -> None:
    text = GOOD.replace("ae_title: ARCHIVE", "ae_title: ARCHIVE, calling_ae_title: LAB")
    source = load_config(written(tmp_path, text)).sources["main"]
    assert isinstance(source, PacsPeer)
    assert source.slots[0].ae_title == "LAB"


PACS = """\
sources:
  main:
    kind: pacs
    host: pacs.example
    port: 2762
    ae_title: ARCHIVE
    retrieve: %s
    slots: [{ae_title: LAB1, port: 11112}, {ae_title: LAB2, port: 11113}]
    tls: {ca: ca.pem, certificate: our.pem, key: our.key}
    dicomweb: {url: "https://pacs.example/dicom-web/", token: {env: PACS_TOKEN}}
    courtesy: {hours: "19:00-06:30", pause_s: 5, moves: 2, retries: 7}
"""


def test_all_of_a_pacs_is_read(tmp_path: Path) -> None:
    (source,) = load_sources(written(tmp_path, PACS % "auto")).sources.values()
    courtesy = Courtesy(hours=(time(19), time(6, 30)), pause_s=5, moves=2, retries=7)
    assert source == PacsPeer(
        name="main",
        host="pacs.example",
        port=2762,
        ae_title="ARCHIVE",
        retrieve=("wado", "get", "move"),
        slots=(Slot(ae_title="LAB1", port=11112), Slot(ae_title="LAB2", port=11113)),
        tls=Tls(ca=Path("ca.pem"), certificate=Path("our.pem"), key=Path("our.key")),
        web=WebPeer(
            name="main",
            url="https://pacs.example/dicom-web",
            token=Secret(env="PACS_TOKEN"),
            courtesy=courtesy,
        ),
        courtesy=courtesy,
    )


def test_all_of_a_web_server_is_read(tmp_path: Path) -> None:
    entry = "{kind: dicomweb, url: 'https://pacs.example', user: lab, password: {file: secret}}"
    (source,) = load_sources(written(tmp_path, f"sources: {{web: {entry}}}")).sources.values()
    password = Secret(file=Path("secret"))
    assert source == WebPeer(name="web", url="https://pacs.example", user="lab", password=password)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("retrieve: auto", "retrieve: [get, cmove]", "'cmove' is not allowed"),
        ("port: 11113", "port: 11112", "sources.main.slots: an AE title or port stands there twice"),
        ("port: 2762", "port: 2762\n    receive_port: 104", "'receive_port' stands beside 'slots'"),
        (", key: our.key", "", "'certificate' and 'key' need each other"),
        ("19:00-06:30", "19:00-24:30", "must be two times as 19:00-06:00"),
        ("19:00-06:30", "19:00-19:00", "begins when it ends"),
        ("https://", "https://lab:hunter2@", "without user, password and query"),
        ("token: {env: PACS_TOKEN}", "user: lab", "must hold 'user' and 'password', or 'token'"),
        (
            "token: {env: PACS_TOKEN}",
            "token: {env: A, file: b}",
            "token: must be {file: PATH} or {env: NAME}",
        ),
        ("token: {env: PACS_TOKEN}", "token: hunter2", "token: must be {file: PATH} or {env: NAME}"),
        ("    dicomweb:", "    # dicomweb:", ""),
    ],
)
def test_wrong_settings_of_a_pacs_are_told(tmp_path: Path, old: str, new: str, told: str) -> None:
    text = PACS % ("auto" if told else "wado")
    assert old in text
    with pytest.raises(ConfigError) as error:
        load_sources(written(tmp_path, text.replace(old, new)))
    assert (told or "wado needs the key 'dicomweb' beside it") in str(error.value)
    assert "hunter2" not in str(error.value)


WRONG = {
    "misspelt key": ("heuristic:", "heuristik:", "'heuristik'", "Did you mean 'heuristic'?"),
    "misspelt key of a source": ("host:", "hots:", "sources.main", "Did you mean 'host'?"),
    "no number": ("port: 104", "port: dicom", "sources.main.port", "a whole number, not 'dicom'"),
    "no port": ("port: 104", "port: 70000", "sources.main.port", "from 1 to 65535, not 70000"),
    "unknown kind": ("kind: folder", "kind: foldr", "sources.disk.kind", "Did you mean 'folder'?"),
    "no kind": ("kind: folder, ", "", "sources.disk", "'kind' is missing"),
    "no host": ("host: pacs.example, ", "", "sources.main", "'host' is missing"),
    "long title": ("ARCHIVE", "ARCHIVE_OF_RADIOLOGY", "sources.main.ae_title", "1 to 16 ASCII characters"),
    "odd name": ("  disk:", "  my disk:", "sources", "letters, digits, hyphens"),
    "source not defined": ("source: main", "source: mian", "studies.query[0].source", "Did you mean 'main'?"),
    "which source": ("source: main\n      ", "", "studies.query[0].source", "Allowed: main, disk"),
    "no keyword": ("StudyDate", "StudyDat", "studies.query[0].match", "Did you mean 'StudyDate'?"),
    "no expression": ("[0-9]+)", "[0-9+)", "studies.query[0].subject.pattern", "no regular expression"),
    "no group": ("?P<subject>", "", "studies.query[0].subject.pattern", "(?P<subject>...)"),
    "table and query": ("  query:", "  table: t.tsv\n  query:", "studies", "one of the keys table, query"),
    "list for a text": ("name: A study", "name: [A, B]", "dataset.name", "a text, not a list"),
    "empty": ("name: A study", "name:", "dataset.name", "a text, not empty"),
    "choice": ("heuristic:", "gzip: best\nheuristic:", "gzip", "Allowed: fast, small"),
    "plain files": ("heuristic:", "gzip: off\nheuristic:", "gzip", "pacs2bids convert --gzip off"),
    "yes is no choice": (
        "heuristic:",
        "on_broken_series: true\nheuristic:",
        "on_broken_series",
        "fail, skip",
    ),
    "wildcard in a path": ("heuristic:", "bids: 'b{x}'\nheuristic:", "bids", "without { }"),
    "identities in the dataset": (
        "heuristic:",
        "workdir: bids/work\nheuristic:",
        "workdir",
        "inside the dataset",
    ),
    "twice": ("dataset:", "heuristic: other.py\ndataset:", "line 11", "'heuristic' stands there twice"),
    "no YAML": ("sources:", "sources: {", "line 2", "the { on this line is not closed"),
    "list for a key": ("dataset:", "? [a]\n: b\ndataset:", "line 11", "a key must be a text"),
    "date with hyphens": (
        "20260101-,",
        "2026-01-12,",
        "studies.query[0].match.StudyDate",
        "'2026-01-12' is no date of DICOM. Write YYYYMMDD",
    ),
    "half a date": ("20260101-,", "202601,", "studies.query[0].match.StudyDate", "Write YYYYMMDD"),
    "wildcard in a date": ("20260101-,", '"2026*",', "studies.query[0].match.StudyDate", "Write YYYYMMDD"),
    "no day": ("20260101-,", "20260230-,", "studies.query[0].match.StudyDate", "is no date"),
    "range backwards": ("20260101-,", "20260131-20260101,", "match.StudyDate", "ends before it begins"),
    "no time": ("StudyDate: 20260101-,", "StudyTime: 2500-,", "match.StudyTime", "Write HHMM"),
    "wildcard in a UID": ("StudyDate: 20260101-,", "StudyInstanceUID: [1.2, 1.*],", "UID", "no wildcards"),
    "excluded by no keyword": (
        "session:",
        "exclude: [{PatientId: X}]\n      session:",
        "studies.query[0].exclude[0]",
        "Did you mean 'PatientID'?",
    ),
    "excluded by nothing": ("session:", "exclude: []\n      session:", "exclude", "must not be empty"),
    "excluded by a text": (
        "session:",
        'exclude: "*phantom*"\n      session:',
        "studies.query[0].exclude",
        "must be a list, not '*phantom*'. As in: [{StudyDescription: '*phantom*'}, {PatientID: [T1, T2]}]",
    ),
    "excluded by texts": (
        "session:",
        'exclude: ["*phantom*"]\n      session:',
        "studies.query[0].exclude[0]",
        "must be keys with values, not '*phantom*'. As in: {StudyDescription: '*brain*'",
    ),
    "pattern and table": ("[0-9]+)$'", "[0-9]+)$', table: t.tsv", "studies.query[0].subject", "one of them"),
    "unlabelled": ("session:", "unlabelled: ignore\n      session:", "unlabelled", "Allowed: fail, skip"),
    "no colon": ("dataset:", "workdir work\ndataset:", "line 11", "has no colon behind its key"),
    "indented too far": ("  disk:", "    disk:", "line 4", "Check the indentation"),
    "indented too little": ("  disk:", " disk:", "line 4", "Check the indentation"),
    "backslash in a pattern": (
        "'^P(?P<subject>[0-9]+)$'",
        r'"^P(?P<subject>\d+)$"',
        "line 9",
        "Put patterns into single quotes",
    ),
    "number for a key": ("dataset:", "3: b\ndataset:", "config.yaml", "unknown key '3'"),
    "tab": ("  main:", "\tmain:", "line 3", "A tab stands there: indent with spaces"),
}


@pytest.mark.parametrize(("found", "instead", "where", "what"), WRONG.values(), ids=WRONG.keys())
def test_wrong_is_one_line(tmp_path: Path, found: str, instead: str, where: str, what: str) -> None:
    path = written(tmp_path, GOOD.replace(found, instead, 1))
    with pytest.raises(ConfigError) as raised:
        load_config(path)
    line = str(raised.value)
    assert line.startswith(str(path))
    assert where in line
    assert what in line
    assert "\n" not in line


def test_several_errors_are_counted(tmp_path: Path) -> None:
    wrong = GOOD.replace("heuristic:", "heuristik:").replace("port: 104", "port: x")
    told = r"unknown key 'heuristik' \(and the key 'heuristic' is missing; sources\.main\.port must be"
    with pytest.raises(ConfigError, match=told):
        load_config(written(tmp_path, wrong))
    with pytest.raises(ConfigError, match=r"the key 'heuristic' is missing; and 2 more\)"):
        load_config(written(tmp_path, wrong.replace("ae_title: ARCHIVE", "ae_title: TITLE_THAT_IS_TOO_LONG")))


def test_some_source_is_needed(tmp_path: Path) -> None:
    before, _, after = GOOD.partition("sources:\n")
    text = before + "sources: {}\n" + after.partition("studies:")[1] + after.partition("studies:")[2]
    with pytest.raises(ConfigError, match="sources: must not be empty"):
        load_config(written(tmp_path, text))


@pytest.mark.parametrize("content", [b"", b"- a\n- b\n", b"\xff\xfe", b"text"])
def test_no_configuration_at_all(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"keys with values|UTF-8"):
        load_config(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml: cannot be read"):
        load_config(tmp_path / "config.yaml")


@pytest.mark.parametrize("key", ["studies.table", "heuristic"])
def test_files_of_a_person_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.chdir(tmp_path)
    text = "sources: {d: {kind: folder, path: d}}\nstudies: {table: t.tsv}\nheuristic: h.py\n"
    path = written(tmp_path, text + "dataset: {name: A}\n")
    (tmp_path / ("h.py" if key == "studies.table" else "t.tsv")).touch()
    with pytest.raises(ConfigError, match=f"{key}: there is no file"):
        require_files(load_config(path), path)


def test_the_table_is_checked_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "sources: {d: {kind: folder, path: d}}\nstudies: {table: t.tsv}\nheuristic: h.py\n"
    path = written(tmp_path, text + "dataset: {name: A}\n")
    (tmp_path / "h.py").touch()
    (tmp_path / "t.tsv").write_text("StudyInstanceUID\tsubject\n1.2\ta_b\n")
    with pytest.raises(ConfigError, match=r"t\.tsv: line 2: the subject 'a_b' may have letters"):
        require_files(load_config(path), path)
    (tmp_path / "t.tsv").write_text("StudyInstanceUID\tsubject\n1.2\tab\n")
    require_files(load_config(path), path)


def test_what_heuristics_leave_open_is_read(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, GOOD)).naming == NamingRules()
    naming = "naming: {runs: by_time, short_runs: acq-short, computed_maps: name}\n"
    rules = NamingRules(runs="several", short_runs="acq-short", computed_maps="name")
    assert load_config(written(tmp_path, GOOD + naming)).naming == rules
    plain, chosen = (
        load_config(written(tmp_path, GOOD + more))
        for more in ("", "fieldmap_shims: any\non_heuristic_error: skip\n")
    )
    assert (plain.fieldmap_shims, plain.on_heuristic_error) == ("same", "fail")
    assert (chosen.fieldmap_shims, chosen.on_heuristic_error) == ("any", "skip")
    with pytest.raises(ConfigError, match=r"naming\.short_runs"):
        load_config(written(tmp_path, GOOD + "naming: {short_runs: throw away}\n"))


@pytest.mark.parametrize("value", ["20260131", "20260101-20260131", "20260101-", "-20260131", "''"])
def test_dates_as_dicom_matches_them(tmp_path: Path, value: str) -> None:
    text = GOOD.replace("20260101-,", f"{value},")
    assert load_config(written(tmp_path, text)).queries[0].match["StudyDate"] == (value.strip("'"),)


@pytest.mark.parametrize("value", ["0800-1200", "08-", "-1759", "083000.5", "2359"])
def test_times_as_dicom_matches_them(tmp_path: Path, value: str) -> None:
    text = GOOD.replace("StudyDate: 20260101-,", f"StudyTime: '{value}',")
    assert load_config(written(tmp_path, text)).queries[0].match["StudyTime"] == (value,)


def test_alternatives_stand_in_a_list_or_between_backslashes(tmp_path: Path) -> None:
    text = GOOD.replace("PatientID: 007", "PatientID: [007, 8], StudyInstanceUID: '1.2\\1.3'")
    text = text.replace(
        "session:", "exclude: [{StudyDescription: ['*test*', QA]}, {PatientID: P9}]\n      session:"
    )
    (query,) = load_config(written(tmp_path, text)).queries
    assert query.match["PatientID"] == ("007", "8")
    assert query.match["StudyInstanceUID"] == ("1.2", "1.3")
    assert query.exclude == ({"StudyDescription": ("*test*", "QA")}, {"PatientID": ("P9",)})


def test_tables_of_labels_are_looked_at_before_anything_runs(tmp_path: Path) -> None:
    table, heuristic = tmp_path / "people.tsv", tmp_path / "h.py"
    heuristic.touch()
    text = GOOD.replace("pattern: '^P(?P<subject>[0-9]+)$'", f"table: {table}")
    path = written(tmp_path, text.replace("heuristics/mine.py", str(heuristic)))
    config = load_config(path)
    assert config.queries[0].subject.table == table
    with pytest.raises(ConfigError, match="cannot be read"):
        require_files(config, path)
    table.write_text("PatientID\tsubject\nP-1\t0 1\n")
    with pytest.raises(ConfigError, match="line 2 has no PatientID, or no subject"):
        require_files(config, path)
    table.write_text("PatientID\tsubject\nP-1\t01\n")
    require_files(config, path)


SOURCES = "sources:\n  main: {kind: folder, path: x}\n"


@pytest.mark.parametrize(
    "rest",
    ["", "studies:\n", "studies: {query: }\n", "studies: {query: [{match: }]}\n", "heuristic:\nunknown: 1\n"],
)
def test_sources_are_read_of_an_unfinished_configuration(tmp_path: Path, rest: str) -> None:
    found = load_sources(written(tmp_path, SOURCES + rest))
    assert found.sources == {"main": FolderSource(name="main", path=Path("x"))}
    assert all(asked == ("main", {}) for asked in found.asked)


def test_what_queries_match_is_read_without_their_labels(tmp_path: Path) -> None:
    rest = "studies: {query: [{match: {StudyDate: 20260101-}}]}\n"
    assert load_sources(written(tmp_path, SOURCES + rest)).asked == (("main", {"StudyDate": ("20260101-",)}),)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("dataset: {name: A}\n", "the key 'sources' is missing"),
        (SOURCES.replace("path", "paht"), "sources.main: unknown key 'paht'"),
        (SOURCES + "studies: {query: [{source: mian}]}\n", "Did you mean 'main'"),
        (SOURCES + "studies: {query: [{match: {StudyDat: 1}}]}\n", "Did you mean 'StudyDate'"),
        (SOURCES + "studies: {query: [{match: {StudyDate: 2026-01-12}}]}\n", "Write YYYYMMDD"),
        (SOURCES + "studies: {query: {match: x}}\n", "studies.query: must be a list"),
        ("text", "keys with values"),
    ],
)
def test_what_is_wrong_with_the_sources_is_told_all_the_same(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_sources(written(tmp_path, text))


def test_shipped_configuration_is_right() -> None:
    root = Path(__file__).resolve().parents[2]
    config = load_config(root / "config.yaml")
    assert (root / config.heuristic).is_file()
