"""C-FIND as a client, and ``pacs2bids query``: the embedded PACS, a folder, a PACS that misbehaves."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from pacs2bids.__main__ import main
from pacs2bids.model import QueryError
from pacs2bids.pacs.find import find
from pacs2bids.pacs.server import serving
from pacs2bids.peers import PacsPeer
from peers.instances import STUDY, instance
from peers.ports import free_port

PEOPLE = (("P01", "Visit 1", "20260103"), ("P01", "Visit 2", "20260201"), ("P02", "Visit 1", "20260102"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("people")
    for number, (patient, description, date) in enumerate(PEOPLE):
        dataset = instance(number, study=f"{STUDY}.{number}")
        dataset.PatientID, dataset.StudyDescription, dataset.StudyDate = patient, description, date
        dataset.StudyTime, dataset.AccessionNumber, dataset.Modality = "1200", f"A{number}", "MR"
        dataset.SeriesInstanceUID = f"{STUDY}.{number}.1"
        pydicom.dcmwrite(root / f"{number}.dcm", dataset, enforce_file_format=True)
    return root


@pytest.fixture
def dead() -> int:
    """A port that refuses connections."""
    return free_port()


def peer_at(port: int, **changes: Any) -> PacsPeer:
    return PacsPeer(**{"name": "main", "host": "127.0.0.1", "port": port, "ae_title": "SCRIPTED", **changes})


@contextmanager
def scripted(
    answer: Callable[[Any], Iterator[Any]], sop_class: str = StudyRootQueryRetrieveInformationModelFind
) -> Iterator[int]:
    """A PACS that answers C-FIND as told; yields its port."""
    ae = AE(ae_title="SCRIPTED")
    ae.require_called_aet = True
    ae.add_supported_context(sop_class)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, answer)])
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


# ------------------------------------------------------------------------------------------------ find


def test_answers_as_text(folder: Path) -> None:
    with serving(folder) as pacs:
        peer = peer_at(pacs.port)
        answers = find(
            peer, "STUDY", {"PatientID": "P01", "StudyDate": "", "NumberOfStudyRelatedInstances": ""}
        )
        images = find(
            peer, "IMAGE", {"StudyInstanceUID": f"{STUDY}.2", "SOPInstanceUID": "", "SOPClassUID": ""}
        )
    assert sorted(one["StudyDate"] for one in answers) == ["20260103", "20260201"]
    assert {one["NumberOfStudyRelatedInstances"] for one in answers} == {"1"}
    assert [one["SOPClassUID"] for one in images] == ["1.2.840.10008.5.1.4.1.1.4"]


def test_nobody_listens(dead: int) -> None:
    with pytest.raises(QueryError, match=r"PACS 'main' .*Connection refused.*Check host and port"):
        find(peer_at(dead), "STUDY", {"StudyInstanceUID": ""})


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70])
def test_an_unknown_host(host: str) -> None:
    with pytest.raises(QueryError, match=rf"host name '{re.escape(host)}' is unknown.*Check host"):
        find(peer_at(104, host=host), "STUDY", {"StudyInstanceUID": ""})


def test_a_wrong_ae_title() -> None:
    with (
        scripted(lambda _event: iter(())) as port,
        pytest.raises(QueryError, match=r"rejected: .*[Cc]alled AE title"),
    ):
        find(peer_at(port, ae_title="WRONG"), "STUDY", {"StudyInstanceUID": ""})


def test_a_server_without_queries() -> None:
    with (
        scripted(lambda _event: iter(()), Verification) as port,
        pytest.raises(QueryError, match="offers no service"),
    ):
        find(peer_at(port), "STUDY", {"StudyInstanceUID": ""})


def test_a_failure_status_is_named() -> None:
    def fail(_event: Any) -> Iterator[Any]:
        yield 0xC123, None

    with scripted(fail) as port, pytest.raises(QueryError, match=r"status C123 \(unable to process\)"):
        find(peer_at(port), "STUDY", {"StudyInstanceUID": ""})


def test_silence_ends() -> None:
    over = threading.Event()

    def sleep(_event: Any) -> Iterator[Any]:
        over.wait(300)
        yield 0x0000, None

    with scripted(sleep) as port:
        with pytest.raises(QueryError, match="no answer to the query within 1 s"):
            find(peer_at(port), "STUDY", {"StudyInstanceUID": ""}, response_timeout_s=1)
        over.set()


def test_an_abort_in_the_midst() -> None:
    def abort(event: Any) -> Iterator[Any]:
        event.assoc.abort()
        yield 0x0000, None

    with scripted(abort) as port, pytest.raises(QueryError, match="broken off during the query"):
        find(peer_at(port), "STUDY", {"StudyInstanceUID": ""})


def test_a_keyword_that_does_not_exist() -> None:
    with pytest.raises(QueryError, match="'PatientIdd' is no DICOM keyword"):
        find(peer_at(1), "STUDY", {"PatientIdd": ""})


# ------------------------------------------------------------------------------------------------ the verb

CONFIG = """
heuristic: heuristics/none.py
dataset: {{name: Test}}
sources:
  pacs: {{kind: pacs, host: 127.0.0.1, port: {port}, ae_title: PACS2BIDS_PACS}}
  disk: {{kind: folder, path: "{folder}"}}
studies: {studies}
"""
QUERY = """
  query:
    - source: {source}
      match: {match}
      subject: {{from: PatientID, pattern: '^P(?P<subject>[0-9]+)$'}}
      session: {{from: StudyDescription, pattern: 'Visit (?P<session>[0-9])'}}
"""


def query(
    tmp_path: Path, config: str, words: Sequence[str] = ("--out", "W/studies.tsv")
) -> subprocess.CompletedProcess[str]:
    (tmp_path / "config.yaml").write_text(config)
    command = [sys.executable, "-m", "pacs2bids", "query", *words]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, cwd=tmp_path)


@pytest.mark.parametrize("source", ["pacs", "disk"])
def test_a_pacs_and_a_folder_give_the_same_table(folder: Path, tmp_path: Path, source: str) -> None:
    with serving(folder) as pacs:
        studies = QUERY.format(source=source, match="{ModalitiesInStudy: MR, StudyDate: 20260101-20260131}")
        done = query(tmp_path, CONFIG.format(port=pacs.port, folder=folder, studies=studies))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 studies of 2 subjects -> W/studies.tsv\n"
    assert (tmp_path / "W/studies.tsv").read_text().splitlines() == [
        "study_instance_uid\tsubject\tsession\tsource",
        f"{STUDY}.0\t01\t1\t{source}",
        f"{STUDY}.2\t02\t1\t{source}",
    ]


@pytest.mark.parametrize("source", ["pacs", "disk"])
def test_a_table_with_accession_numbers(folder: Path, tmp_path: Path, source: str) -> None:
    (tmp_path / "mine.tsv").write_text(f"AccessionNumber\tsubject\tsource\nA1\t07\t{source}\n")
    with serving(folder) as pacs:
        config = CONFIG.format(port=pacs.port, folder=folder, studies="{table: mine.tsv}")
        done = query(tmp_path, config)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "W/studies.tsv").read_text().splitlines()[1] == f"{STUDY}.1\t07\t\t{source}"


def test_nothing_found_leaves_the_old_table(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "W").mkdir()
    (tmp_path / "W/studies.tsv").write_text("old")
    studies = QUERY.format(source="disk", match="{PatientID: SECRET}")
    done = query(tmp_path, CONFIG.format(port=1, folder=folder, studies=studies))
    assert done.returncode == 1
    assert "no study matches" in done.stderr
    assert len(done.stderr.splitlines()) == 1  # and no warning that says the same
    assert "SECRET" not in done.stderr
    assert (tmp_path / "W/studies.tsv").read_text() == "old"


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid", "a..b"])
def test_query_and_pull_say_the_same_of_a_pacs_out_of_reach(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dead: int, host: str
) -> None:
    pacs = f"{{kind: pacs, host: {host}, port: {dead}, ae_title: X, courtesy: {{retries: 0}}}}"
    config, studies = tmp_path / "config.yaml", tmp_path / "studies.tsv"
    config.write_text(
        f"heuristic: h.py\ndataset: {{name: Test}}\nsources: {{pacs: {pacs}}}\n"
        "studies: {query: [{match: {ModalitiesInStudy: MR}, subject: {from: PatientID}}]}\n"
    )
    studies.write_text(f"study_instance_uid\tsubject\tsession\tsource\n{STUDY}\t01\t\tpacs\n")
    said = []
    for words in (
        ["query", "--config", str(config), "--out", str(tmp_path / "out.tsv")],
        [
            "pull",
            "--config",
            str(config),
            "--studies",
            str(studies),
            "--study",
            STUDY,
            "--out",
            str(tmp_path / "W"),
        ],
    ):
        assert main(words) == 1
        said.append(capsys.readouterr().err)
    assert said[0] == said[1]
    assert said[0].count("\n") == 1
    assert said[0].startswith(f"ERROR: PACS 'pacs' (X at {host}:{dead}): ")


def test_a_pacs_that_is_down_is_one_line(folder: Path, tmp_path: Path, dead: int) -> None:
    studies = QUERY.format(source="pacs", match="{StudyDate: 20260101-}")
    done = query(tmp_path, CONFIG.format(port=dead, folder=folder, studies=studies))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "Connection refused" in done.stderr


# ------------------------------------------------------------------------------------------------ --list


def rows(done: subprocess.CompletedProcess[str]) -> list[list[str]]:
    assert done.returncode == 0, done.stderr
    return [re.split(r"  +", line) for line in done.stdout.splitlines()[1:]]


def row(number: int) -> list[str]:
    _, description, date = PEOPLE[number]
    return [date, description, "MR", "1", "1", f"{STUDY}.{number}"]


@pytest.mark.parametrize("source", ["pacs", "disk"])
def test_listing_without_any_studies_in_the_configuration(folder: Path, tmp_path: Path, source: str) -> None:
    with serving(folder) as pacs:
        config = CONFIG.format(port=pacs.port, folder=folder, studies="").replace("heuristic:", "# ")
        done = query(tmp_path, config, ["--list", "--source", source])
        some = query(tmp_path, config, ["--list", "--source", source, "--match", "StudyDescription=Visit 1"])
        one = query(
            tmp_path,
            config,
            [
                "--list",
                "--source",
                source,
                "--match",
                "StudyDescription=*1",
                "--match",
                "StudyDate=20260103-",
            ],
        )
    assert rows(done) == [row(2), row(0), row(1)]
    assert rows(some) == [row(2), row(0)]
    assert rows(one) == [row(0)]
    assert "P01" not in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]  # nothing is written


def test_listing_of_several_sources_names_them(folder: Path, tmp_path: Path, dead: int) -> None:
    """One that cannot be asked hides no other."""
    words = [
        "--list",
        "--match",
        "PatientID=P02",
        "--match",
        "PatientID=P0?",
        "--match",
        "StudyDate=20260102",
    ]
    done = query(tmp_path, CONFIG.format(port=dead, folder=folder, studies=""), words)
    assert rows(done) == [["disk", *row(2)]]
    assert done.stdout.startswith("source  StudyDate")
    assert "Connection refused" in done.stderr


def test_listing_asks_what_the_queries_match(folder: Path, tmp_path: Path) -> None:
    """A pattern that does not fit yet is no hindrance."""
    studies = QUERY.format(source="disk", match="{StudyDate: 20260101-20260131}").replace("^P", "^Q")
    config = CONFIG.format(port=1, folder=folder, studies=studies)
    assert rows(query(tmp_path, config, ["--list"])) == [row(2), row(0)]
    assert "P01" in query(tmp_path, config, ["--list", "--identities"]).stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--list", "--match", "StudyDate=20260201-20260101"], "ends before it begins"),
        (["--list", "--source", "dsik"], "Did you mean 'disk'"),
        (["--list", "--source", "disk", "--match", "StudyDate"], "Write KEY=VALUE"),
        (["--list", "--source", "disk", "--match", "StudyDate=2026-01-12"], "Write YYYYMMDD"),
        (["--list", "--source", "disk", "--match", "StudyDat=2026"], "Did you mean 'StudyDate'"),
        (["--list", "--source", "disk", "--match", "Modality=MR"], "Use ModalitiesInStudy"),
        (["--list", "--source", "disk", "--match", "StudyDate=19000101"], "no study matches"),
        (["--out", "t.tsv", "--identities"], "goes with --dry-run or --list"),
        (["--out", "t.tsv", "--match", "StudyDate=20260101"], "go with --list"),
    ],
)
def test_a_wrong_listing_is_one_line(folder: Path, tmp_path: Path, words: list[str], told: str) -> None:
    done = query(tmp_path, CONFIG.format(port=1, folder=folder, studies=""), words)
    assert done.returncode in (1, 2)
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_question_without_answer_is_told_beside_one_with(folder: Path, tmp_path: Path) -> None:
    found, nothing = (QUERY.format(source="disk", match=f"{{PatientID: {one}}}") for one in ("P02", "X"))
    studies = found + nothing.replace("\n  query:\n", "")
    done = query(tmp_path, CONFIG.format(port=1, folder=folder, studies=studies))
    assert done.returncode == 0, done.stderr
    assert "studies.query[1]: no study of source 'disk' matches" in done.stderr


@pytest.mark.parametrize("source", ["pacs", "disk"])
def test_pull_of_an_unknown_study_says_how_to_see_the_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    with serving(folder) as pacs:
        config = CONFIG.format(port=pacs.port, folder=folder, studies="{table: none.tsv}")
        (tmp_path / "config.yaml").write_text(config)
        (tmp_path / "t.tsv").write_text(
            f"study_instance_uid\tsubject\tsession\tsource\n1.2\t01\t\t{source}\n"
        )
        files = ["--config", str(tmp_path / "config.yaml"), "--studies", str(tmp_path / "t.tsv")]
        assert main(["pull", *files, "--study", "1.2", "--out", str(tmp_path / "W")]) == 1
    assert "'pacs2bids query --list' shows" in capsys.readouterr().err
