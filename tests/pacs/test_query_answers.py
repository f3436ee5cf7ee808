"""Queries to sources that answer more, less or otherwise than they were asked, and asked again."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.dsutils import decode
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
)

from pacs2bids.__main__ import main
from pacs2bids.model import QueryError
from pacs2bids.pacs.find import find, find_all, find_some
from pacs2bids.pacs.identifiers import attributes_of, identifier_of
from pacs2bids.peers import PacsPeer
from peers.instances import STUDY, instance

FIND = StudyRootQueryRetrieveInformationModelFind


@contextmanager
def scripted(answer: Callable[[Any], Iterator[Any]]) -> Iterator[PacsPeer]:
    """A PACS that answers C-FIND as told."""
    ae = AE(ae_title="SCRIPTED")
    ae.add_supported_context(FIND)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, answer)])
    assert server is not None
    try:
        port = server.server_address[1]
        yield PacsPeer(name="main", host="127.0.0.1", port=port, ae_title="SCRIPTED")
    finally:
        server.shutdown()


def study(number: int, **attributes: str) -> Dataset:
    return identifier_of("STUDY", {"StudyInstanceUID": f"{STUDY}.{number}", **attributes})


# ------------------------------------------------------------------------------------------------ the wire


def test_several_questions_go_over_one_association() -> None:
    associations = set()

    def answer(event: Any) -> Iterator[Any]:
        associations.add(event.assoc)
        yield 0xFF00, study(1, PatientID=event.identifier.PatientID)

    with scripted(answer) as peer:
        found = find_all(peer, "STUDY", [{"PatientID": "A"}, {"PatientID": "B"}])
    assert [one["PatientID"] for one in found] == ["A", "B"]
    assert len(associations) == 1


def test_an_answer_without_end_is_cut() -> None:
    sent = []

    def endless(event: Any) -> Iterator[Any]:
        for number in range(100_000):
            if event.is_cancelled or not event.assoc.is_established:
                return
            sent.append(number)
            yield 0xFF00, study(number)

    with scripted(endless) as peer:
        with pytest.raises(QueryError, match="more than 30 answers"):
            find_all(peer, "STUDY", [{"StudyInstanceUID": ""}], at_most=30)
        assert len(find_some(peer, "STUDY", {"StudyInstanceUID": ""}, at_most=3)) == 3
    assert len(sent) < 50_000


def test_unsupported_keys_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    def answer(_event: Any) -> Iterator[Any]:
        for number in range(3):
            yield 0xFF01, study(number)

    caplog.set_level("INFO", "pacs2bids.find")
    with scripted(answer) as peer:
        assert len(find(peer, "STUDY", {"StudyInstanceUID": "", "InstitutionName": ""})) == 3
    told = [one for one in caplog.records if "FF01" in one.message]
    assert [one.levelname for one in told] == ["WARNING"]


def element(group: int, number: int, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    return struct.pack("<HHI", group, number, len(value)) + value


# examples of PS3.5 annexes H to K, and what PACS make of theirs
NAMES = [
    ("ISO_IR 192", "Phäntom^Öne".encode(), "Phäntom^Öne"),
    ("ISO_IR 100", "Phäntom^Öne".encode("latin-1"), "Phäntom^Öne"),
    ("ISO_IR 144", "Люкceмбypг".encode("iso8859_5"), "Люкceмбypг"),
    ("GB18030", "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东"),
    (
        "\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    (
        "ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
    ),
    (
        "\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    (
        "\\ISO 2022 IR 58",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",
        "Zhang^XiaoDong=张^小东",
    ),
    # none is said, against PS3.5 section 6.1.2.5.4
    (None, "Phäntom^Öne".encode(), "Phäntom^Öne"),
    (None, "Phäntom^Öne".encode("latin-1"), "Phäntom^Öne"),
    ("ISO_IR 6", "山田".encode(), "山田"),
    ("nonsense", b"Phantom", "Phantom"),
]


@pytest.mark.parametrize(("character_set", "name", "expected"), NAMES)
def test_names_in_any_character_set(character_set: str | None, name: bytes, expected: str) -> None:
    head = element(0x0008, 0x0005, character_set.encode()) if character_set is not None else b""
    content = head + element(0x0008, 0x0052, b"STUDY") + element(0x0010, 0x0010, name)
    assert attributes_of(decode(BytesIO(content), True, True)) == {"PatientName": expected}


# ------------------------------------------------------------------------------------------------ the verb

CONFIG = """
workdir: {work}
heuristic: h.py
dataset: {{name: Test}}
sources:
  main: {source}
studies:
  query:
    - match: {match}
      subject: {{from: PatientID, pattern: '{pattern}'}}
      {more}
"""


class Query:
    """``pacs2bids query`` with one question; both streams as a person sees them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.source = f"{{kind: folder, path: {folder}/files}}"

    @property
    def table(self) -> Path:
        return self.folder / "work" / "studies.tsv"

    def subjects(self) -> list[str]:
        return [line.split("\t")[1] for line in self.table.read_text().splitlines()[1:]]

    def __call__(
        self,
        *words: str,
        match: str = "{PatientID: '*'}",
        more: str = "",
        pattern: str = "^P(?P<subject>[0-9]+)$",
    ) -> tuple[int, str]:
        config = self.folder / "config.yaml"
        work, source = self.folder / "work", self.source
        config.write_text(CONFIG.format(work=work, source=source, match=match, more=more, pattern=pattern))
        code = main(["query", "--config", str(config), *(words or ("--out", str(self.table)))])
        captured = self._capsys.readouterr()
        return code, captured.out + captured.err

    def store(self, number: int, patient: str, description: str = "Head") -> Path:
        dataset = instance(number, study=f"{STUDY}.{number}")
        dataset.PatientID, dataset.StudyDescription, dataset.StudyDate = patient, description, "20260101"
        dataset.SeriesInstanceUID = f"{STUDY}.{number}.1"
        path = self.folder / "files" / f"{number}.dcm"
        path.parent.mkdir(exist_ok=True)
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        return path


@pytest.fixture
def query(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Query:
    return Query(tmp_path, capsys)


def test_rows_keep_their_places_when_studies_come(query: Query) -> None:
    query.store(5, "P5")
    query.store(7, "P7")
    assert query()[0] == 0
    query.store(6, "P6")
    query.store(1, "P1")
    assert query()[0] == 0
    assert query.subjects() == ["5", "7", "1", "6"]


def test_a_study_that_the_source_lost_stays_if_it_was_pulled(query: Query) -> None:
    pulled, unpulled = query.store(1, "P1"), query.store(2, "P2")
    query.store(3, "P3")
    query()
    receipt = query.folder / "work" / "studies" / f"{STUDY}.1" / "receipt.json"
    receipt.parent.mkdir(parents=True)
    receipt.touch()
    pulled.unlink()
    unpulled.unlink()
    code, text = query()
    assert code == 0
    assert query.subjects() == ["1", "3"]
    assert f"study {STUDY}.1 (sub-1): its source does not have it any more, but it was pulled" in text
    assert f"study {STUDY}.2 (sub-2): its source does not have it any more, and it was not pulled" in text


def test_a_study_that_is_excluded_later_leaves_though_it_was_pulled(query: Query) -> None:
    query.store(1, "P1")
    query.store(2, "P2", "QA phantom")
    query()
    receipt = query.folder / "work" / "studies" / f"{STUDY}.2" / "receipt.json"
    receipt.parent.mkdir(parents=True)
    receipt.touch()
    code, text = query(more="exclude: [{StudyDescription: '*PHANTOM*'}]")
    assert code == 0
    assert query.subjects() == ["1"]
    assert "no question matches it any more; it leaves the table" in text
    assert "1 study of 1 subject (1 left out)" in text


def test_a_preview_writes_nothing_and_says_why(query: Query) -> None:
    query.store(1, "P1")
    query.store(2, "P2", "QA phantom")
    query()
    before = query.table.read_text()
    query.store(3, "P3")
    query.store(4, "SECRET")
    more = "exclude: [{StudyDescription: '*phantom*'}]"
    code, text = query("--dry-run", more=more)
    rows = [line.split() for line in text.splitlines()]
    assert [row[0] for row in rows[:5]] == ["change", "same", "gone", "new", "excluded"]
    assert rows[5][:2] == ["no", "label"]
    assert "does not match the pattern" in text
    assert code == 1  # as there is a study without a label, nothing would be written
    assert "SECRET" not in text
    assert query.table.read_text() == before
    code, text = query("--dry-run", "--identities", more=f"{more}\n      unlabelled: skip")
    assert code == 0
    assert "SECRET" in text
    assert not (query.folder / "work" / "logs").exists()


def test_a_pacs_that_ignores_a_condition(query: Query) -> None:
    """It has the keyword, answers it, and does not match by it."""

    def deaf(_event: Any) -> Iterator[Any]:
        yield 0xFF01, study(1, PatientID="P1", StudyDate="20250101", StudyDescription="Head")
        yield 0xFF01, study(2, PatientID="P2", StudyDate="", StudyDescription="Head")
        yield 0xFF01, study(3, PatientID="P3", StudyDate="20260201", StudyDescription="Head")

    with scripted(deaf) as peer:
        query.source = f"{{kind: pacs, host: 127.0.0.1, port: {peer.port}, ae_title: SCRIPTED}}"
        code, text = query(match="{StudyDate: 20260101-, InstitutionName: X}")
    assert code == 0
    assert query.subjects() == ["3"]
    assert text.count("FF01") == 1
    assert "answered 2 studies against the condition on StudyDate: left out" in text
    assert "does not answer InstitutionName" in text


def test_two_people_under_one_label_are_refused(query: Query) -> None:
    def people(_event: Any) -> Iterator[Any]:
        yield 0xFF00, study(1, PatientID="P1", PatientBirthDate="19800101", PatientSex="F")
        yield 0xFF00, study(2, PatientID="SECRET1", PatientBirthDate="19900101", PatientSex="F")

    with scripted(people) as peer:
        query.source = f"{{kind: pacs, host: 127.0.0.1, port: {peer.port}, ae_title: SCRIPTED}}"
        code, text = query(more="unlabelled: skip", match="{PatientID: 'P1'}")
        assert (code, query.subjects()) == (0, ["1"])
        code, text = query(pattern="(?P<subject>[0-9]+)$")
    assert code == 1
    assert "sub-1 stands for two people: PatientID and PatientBirthDate differ in the studies" in text
    assert f"{STUDY}.1 and {STUDY}.2" in text
    assert "SECRET" not in text
    assert query.subjects() == ["1"]  # the table that stood there
