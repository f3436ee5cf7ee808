"""From tables and answers to the rows of studies.tsv, without a network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from pacs2bids.model import ConfigError, QueryError, StudyRow
from pacs2bids.pacs.listing import listed
from pacs2bids.pacs.query import Candidate, resolve_table, search, settle
from pacs2bids.peers import Attributes
from pacs2bids.studies_table import read_table

UID = "1.2.826.0.1.3680043.10.8"
HEADER = "StudyInstanceUID\tsubject\tsession\n"


@dataclass(frozen=True, kw_only=True)
class Rule:
    attribute: str
    pattern: re.Pattern[str] | None
    group: str = "subject"


@dataclass(frozen=True, kw_only=True)
class Question:
    source: str = "main"
    match: dict[str, str]
    subject: Rule
    session: Rule | None = None


def table(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "mine.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def answering(*answers: Attributes) -> Sequence[Attributes]:
    return answers


# ------------------------------------------------------------------------------------------------ by hand


@pytest.mark.parametrize(
    "content",
    [
        f"StudyInstanceUID\tsubject\tsession\n{UID}.1\t01\ta\n".encode(),
        f"StudyInstanceUID\tsubject\tsession\r\n{UID}.1\t01\ta\r\n\r\n".encode("utf-8-sig"),
        f"StudyInstanceUID\tsubject\tsession\r\n{UID}.1\t01\ta\r\n".encode("utf-16"),
        f"study_instance_uid \t Subject\tsession\t\n{UID}.1 \t 01\ta \t\n\t\t\n".encode(),
        f"subject\tsession\tStudyInstanceUID\n01\ta\t{UID}.1".encode(),
        f'StudyInstanceUID\tsubject\tsession\n"{UID}.1"\t"01"\ta\n'.encode(),
    ],
)
def test_one_table_as_different_programs_write_it(tmp_path: Path, content: bytes) -> None:
    (row,) = read_table(table(tmp_path, content))
    assert (row.study_instance_uid, row.subject, row.session) == (f"{UID}.1", "01", "a")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "the header needs"),
        (f"StudyInstanceUID,subject\n{UID},01\n", "separated by commas"),
        (f"StudyInstanceUID;subject\n{UID};01\n", "separated by commas"),
        (f"StudyInstanceUID  subject  session\n{UID}  01  a\n", "line 1: is separated by spaces; use tabs"),
        (f"StudyInstanceUID\tsubject  session\n{UID}\t01  a\n", "line 1: is separated by spaces; use tabs"),
        (HEADER + f"{UID}.1\t01\ta\n{UID}.2  02  a\n", "line 3 is separated by spaces; use tabs"),
        (HEADER + f"{UID}\t01  a\n", "line 2 is separated by spaces; use tabs"),
        ("StudyInstanceUID\tsubjekt\n", "unknown column 'subjekt'. Did you mean 'subject'"),
        ("StudyInstanceUID\tsubject\tsubject\n", "stands there twice"),
        ("subject\tsession\n01\ta\n", "the header needs"),
        (HEADER, "lists no study"),
        (HEADER + f"{UID}\tsub-01\ta\n", "line 2: the subject 'sub-01' .* write '01'"),
        (HEADER + f"{UID}\t01\tpre op\n", "line 2: the session 'pre op' .* write 'preop'"),
        (HEADER + f"{UID}\t\ta\n", "line 2: no subject"),
        (HEADER + "\t01\ta\n", "line 2: neither"),
        (HEADER + "1.2.x\t01\ta\n", "line 2: '1.2.x' is no UID"),
        (HEADER + f"{UID}\t01\ta\tmore\n", "line 2 has more cells"),
        (HEADER + f"{UID}\t_\ta\n" * 5, r"\(and 2 more\)"),
        (b"StudyInstanceUID\tsubject\n\xff\xff\t01\n", "UTF-8"),
    ],
)
def test_a_bad_table_is_explained(tmp_path: Path, content: str | bytes, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        read_table(table(tmp_path, content))
    assert "mine.tsv" in str(caught.value)


def test_a_missing_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_table(tmp_path / "nowhere.tsv")


def test_accession_numbers_are_asked_for(tmp_path: Path) -> None:
    rows = read_table(
        table(tmp_path, f"AccessionNumber\tStudyInstanceUID\tsubject\nA7\t\t01\n\t{UID}.2\t02\n")
    )
    asked = []

    def ask(source: str, question: Attributes) -> Sequence[Attributes]:
        asked.append((source, question["AccessionNumber"]))
        return answering({"StudyInstanceUID": f"{UID}.1"})

    found = resolve_table(rows, ["main"], ask, "mine.tsv")
    assert asked == [("main", "A7")]
    assert [one.study for one in found] == [
        StudyRow(study_instance_uid=f"{UID}.1", subject="01", session="", source="main"),
        StudyRow(study_instance_uid=f"{UID}.2", subject="02", session="", source="main"),
    ]


@pytest.mark.parametrize(
    ("number", "answers", "told"),
    [
        ("A7", (), "line 2: source 'main' has no study with the AccessionNumber of this line"),
        ("A7", ({"StudyInstanceUID": "1.1"}, {"StudyInstanceUID": "1.2"}), "several studies .1.1, 1.2."),
        ("A*", ({"StudyInstanceUID": "1.1"},), "wildcard"),
    ],
)
def test_accession_numbers_that_name_no_one_study(
    tmp_path: Path, number: str, answers: Sequence[Attributes], told: str
) -> None:
    rows = read_table(table(tmp_path, f"AccessionNumber\tsubject\n{number}\t01\n"))
    with pytest.raises(QueryError, match=told):
        resolve_table(rows, ["main"], lambda _source, _question: answers, "mine.tsv")


@pytest.mark.parametrize(
    ("cell", "told"), [("", "no source, and there are several"), ("mian", "no source is called 'mian'")]
)
def test_sources_of_a_table(tmp_path: Path, cell: str, told: str) -> None:
    rows = read_table(table(tmp_path, f"StudyInstanceUID\tsubject\tsource\n{UID}\t01\t{cell}\n"))
    with pytest.raises(QueryError, match=f"line 2: {told}.*main, other"):
        resolve_table(rows, ["main", "other"], lambda _source, _question: (), "mine.tsv")


# ------------------------------------------------------------------------------------------------ by query

SUBJECT = Rule(attribute="PatientID", pattern=re.compile("^P(?P<subject>[0-9]+)"))
SESSION = Rule(attribute="StudyDescription", pattern=re.compile("visit (?P<session>[0-9]+)"), group="session")


def test_labels_come_from_named_groups_first_groups_and_whole_values() -> None:
    answer = {
        "StudyInstanceUID": UID,
        "StudyDate": "20260131",
        "PatientID": "P07",
        "StudyDescription": "visit 2",
    }
    rules = (
        (SUBJECT, SESSION, "07", "2"),
        (Rule(attribute="PatientID", pattern=re.compile("P(.*)")), None, "07", ""),
        (Rule(attribute="PatientID", pattern=None), None, "P07", ""),
    )
    for subject, session, expected_subject, expected_session in rules:
        query = Question(match={"PatientID": "P*"}, subject=subject, session=session)
        (found,) = search(query, lambda _source, _question: [answer], "q")
        assert (found.study.subject, found.study.session) == (expected_subject, expected_session)


def test_the_question_asks_for_what_the_labels_need_and_keeps_the_conditions() -> None:
    asked: list[Attributes] = []

    def ask(_source: str, question: Attributes) -> Sequence[Attributes]:
        asked.append(question)
        return ()

    search(Question(match={"PatientID": "P*"}, subject=SUBJECT, session=SESSION), ask, "q")
    assert asked[0]["PatientID"] == "P*"
    assert asked[0]["StudyInstanceUID"] == asked[0]["StudyDescription"] == ""


@pytest.mark.parametrize(
    "answer",
    [
        {"PatientID": "SECRET", "StudyDescription": "visit 1"},
        {"PatientID": "", "StudyDescription": "visit 1"},
        {"StudyDescription": "visit 1"},
        {"PatientID": "P1", "StudyDescription": "SECRET"},
    ],
)
def test_what_cannot_be_labelled_is_named_without_its_value(answer: dict[str, str]) -> None:
    query = Question(match={"StudyDate": "20260101-"}, subject=SUBJECT, session=SESSION)
    with pytest.raises(QueryError) as caught:
        search(query, lambda _source, _question: [{"StudyInstanceUID": UID, **answer}], "q")
    text = str(caught.value)
    assert UID in text
    assert "PatientID" in text or "StudyDescription" in text
    assert "SECRET" not in text


def test_one_odd_study_does_not_hide_the_others() -> None:
    answers = [{"StudyInstanceUID": f"{UID}.{n}", "PatientID": f"X{n}"} for n in range(7)]
    answers.append({"StudyInstanceUID": f"{UID}.7", "PatientID": "P7"})
    query = Question(match={"StudyDate": "20260101-"}, subject=SUBJECT)
    with pytest.raises(QueryError) as caught:
        search(query, lambda _source, _question: answers, "q")
    first, *lines = str(caught.value).splitlines()
    assert first.startswith("q: these studies get no label")
    assert [line.split()[2] for line in lines] == [f"{UID}.{n}:" for n in range(7)]
    assert all("PatientID does not match the pattern" in line for line in lines)


def test_a_label_with_other_characters_is_refused_without_showing_it() -> None:
    rule = Rule(attribute="PatientName", pattern=re.compile("(?P<subject>.*)"))
    query = Question(match={"StudyDate": "2026"}, subject=rule)
    with pytest.raises(QueryError, match="more than letters") as caught:
        search(query, lambda _s, _q: [{"StudyInstanceUID": UID, "PatientName": "Phantom^One"}], "q")
    assert "Phantom" not in str(caught.value)


def test_keys_of_series_are_refused() -> None:
    with pytest.raises(ConfigError, match="ModalitiesInStudy"):
        search(Question(match={"Modality": "MR"}, subject=SUBJECT), lambda _s, _q: (), "q")


# ------------------------------------------------------------------------------------------------ to look at

PERSON = {
    "PatientID": "SECRET1",
    "PatientName": "SECRET2",
    "PatientBirthDate": "SECRET3",
    "AccessionNumber": "SECRET4",
}


def test_a_listing_is_in_order_of_time_and_names_nobody() -> None:
    late = {"StudyInstanceUID": "1.1", "StudyDate": "20260202", "StudyDescription": "Visit\x1b[2J"}
    early = {"StudyInstanceUID": "1.2", "StudyDate": "20260101", "ModalitiesInStudy": "MR\\SR"}
    answers = [{**late, **PERSON}, {**early, **PERSON}, {**late, **PERSON}]
    questions = [("main", {"StudyDate": "2026"}), ("main", {"PatientID": "SECRET1"})]
    asked: list[Attributes] = []

    def ask(_source: str, question: Attributes) -> Sequence[Attributes]:
        asked.append(question)
        return answers

    lines = [line.split() for line in listed(questions, ask, identities=False).splitlines()]
    assert lines == [
        ["StudyDate", "StudyDescription", "Modalities", "Series", "Instances", "StudyInstanceUID"],
        ["20260101", "-", "MR", "SR", "-", "-", "1.2"],
        ["20260202", "Visit?[2J", "-", "-", "-", "1.1"],
    ]
    assert [one["StudyDate"] for one in asked] == ["2026", ""]
    assert "PatientName" not in asked[0]


def test_identities_are_listed_where_they_are_asked_for() -> None:
    answer = {"StudyInstanceUID": "1.1", **PERSON}
    table = listed([("main", {})], lambda _source, _question: [answer], identities=True)
    assert all(value in table for value in PERSON.values())


# ------------------------------------------------------------------------------------------------ together


def candidate(uid: str, subject: str, session: str = "", date: str = "", origin: str = "q") -> Candidate:
    study = StudyRow(study_instance_uid=uid, subject=subject, session=session, source="main")
    return Candidate(study=study, date=date, origin=origin)


def test_rows_are_sorted_whatever_the_order_of_the_answers() -> None:
    studies = [
        candidate("1.4", "02"),
        candidate("1.1", "01", "b", "20260101 1200"),
        candidate("1.3", "01", "b", "20260101 0900"),
        candidate("1.2", "01", "a", "20270101 0900"),
    ]
    expected = ["1.2", "1.3", "1.1", "1.4"]
    for order in (studies, studies[::-1], studies[2:] + studies[:2]):
        settled = settle(order, "q", once=False)
        assert [row.study_instance_uid for row in settled.rows] == expected
        assert settled.warnings == ("sub-01_ses-b is made of 2 studies",)


def test_one_study_under_two_labels_is_an_error() -> None:
    with pytest.raises(QueryError, match=r"study 1\.1 stands there twice, as sub-01 and sub-02"):
        settle([candidate("1.1", "01"), candidate("1.1", "02")], "q", once=False)


def test_the_same_answer_twice_is_fine_but_the_same_row_twice_is_not() -> None:
    twice = [candidate("1.1", "01", origin="line 2"), candidate("1.1", "01", origin="line 5")]
    assert len(settle(twice, "q", once=False).rows) == 1
    with pytest.raises(QueryError, match="line 2 and line 5"):
        settle(twice, "mine.tsv", once=True)


def test_no_study_at_all_is_an_error() -> None:
    with pytest.raises(QueryError, match="no study matches"):
        settle([], "q", once=False)


def test_what_a_person_should_look_at() -> None:
    warnings = settle(
        [candidate("1.1", "a"), candidate("1.2", "A", "x"), candidate("1.3", "A")], "q", once=False
    )
    assert len(warnings.warnings) == 2
    assert "differ in case only" in warnings.warnings[0] + warnings.warnings[1]
    assert "with and without a session" in warnings.warnings[0] + warnings.warnings[1]
