"""From tables and answers to the rows of studies.tsv, without a network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pacs2bids.model import ConfigError, QueryError, StudyRow
from pacs2bids.pacs.listing import listed, preview
from pacs2bids.pacs.present import Lost, changes
from pacs2bids.pacs.query import (
    Candidate,
    LeftOut,
    require_any,
    require_sound,
    resolve_table,
    search,
    settle,
)
from pacs2bids.peers import Attributes, Conditions
from pacs2bids.studies_table import read_labels, read_table

UID = "1.2.826.0.1.3680043.10.8"
HEADER = "StudyInstanceUID\tsubject\tsession\n"


@dataclass(frozen=True, kw_only=True)
class Rule:
    attribute: str
    pattern: re.Pattern[str] | None
    group: str = "subject"
    table: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Question:
    source: str = "main"
    match: Conditions
    subject: Rule
    session: Rule | None = None
    exclude: tuple[Conditions, ...] = ()
    skip_unlabelled: bool = False


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
        (HEADER + f"{UID}\t_\ta\n" * 5, "; and 2 more"),
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

    def ask(source: str, questions: Sequence[Attributes]) -> Sequence[Attributes]:
        asked.extend((source, question["AccessionNumber"]) for question in questions)
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
        query = Question(match={"PatientID": ("P*",)}, subject=subject, session=session)
        (found,) = search(query, lambda _source, _questions: [answer], "q").candidates
        assert (found.study.subject, found.study.session) == (expected_subject, expected_session)


def test_the_question_asks_for_what_the_labels_need_and_keeps_the_conditions() -> None:
    asked: list[Attributes] = []

    def ask(_source: str, questions: Sequence[Attributes]) -> Sequence[Attributes]:
        asked.extend(questions)
        return ()

    search(Question(match={"PatientID": ("P*",)}, subject=SUBJECT, session=SESSION), ask, "q")
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
    query = Question(match={}, subject=SUBJECT, session=SESSION)
    (text,) = search(query, lambda _source, _questions: [{"StudyInstanceUID": UID, **answer}], "q").problems
    assert UID in text
    assert "PatientID" in text or "StudyDescription" in text
    assert "SECRET" not in text


def test_one_odd_study_does_not_hide_the_others() -> None:
    answers = [{"StudyInstanceUID": f"{UID}.{n}", "PatientID": f"X{n}"} for n in range(7)]
    answers.append({"StudyInstanceUID": f"{UID}.7", "PatientID": "P7"})
    query = Question(match={}, subject=SUBJECT)
    found = search(query, lambda _source, _questions: answers, "q")
    assert [one.study.subject for one in found.candidates] == ["7"]
    (problem,) = found.problems
    first, *lines = problem.splitlines()
    assert first.startswith("these studies get no label")
    assert [line.split()[2] for line in lines] == [f"{UID}.{n}:" for n in range(7)]
    assert all("PatientID does not match the pattern" in line for line in lines)


def test_a_label_with_other_characters_is_refused_without_showing_it() -> None:
    rule = Rule(attribute="PatientName", pattern=re.compile("(?P<subject>.*)"))
    query = Question(match={}, subject=rule)
    found = search(query, lambda _s, _q: [{"StudyInstanceUID": UID, "PatientName": "Phantom^One"}], "q")
    assert "more than letters" in found.problems[0]
    assert "Phantom" not in found.problems[0]


def test_keys_of_series_are_refused() -> None:
    with pytest.raises(ConfigError, match="ModalitiesInStudy"):
        search(Question(match={"Modality": ("MR",)}, subject=SUBJECT), lambda _s, _q: (), "q")


def test_what_is_excluded_is_told_by_its_attributes() -> None:
    answers = [
        {"StudyInstanceUID": f"{UID}.1", "PatientID": "P1", "StudyDescription": "Head"},
        {"StudyInstanceUID": f"{UID}.2", "PatientID": "P2", "StudyDescription": "QA Phantom SECRET"},
        {"StudyInstanceUID": f"{UID}.3", "PatientID": "P3", "StudyDescription": ""},
    ]
    rules: tuple[Conditions, ...] = (
        {"StudyDescription": ("*phantom*", "test"), "PatientID": ("P*",)},
        {"StudyInstanceUID": (f"{UID}.3",)},
    )
    found = search(Question(match={}, subject=SUBJECT, exclude=rules), lambda _s, _q: answers, "q")
    assert [one.study.subject for one in found.candidates] == ["1"]
    assert [str(one) for one in found.left_out] == [
        f"study {UID}.2: excluded by exclude[0] (StudyDescription, PatientID)",
        f"study {UID}.3: excluded by exclude[1] (StudyInstanceUID)",
    ]
    assert found.problems == found.warnings == ()


def test_an_exclusion_that_cannot_be_told_is_warned_of() -> None:
    rules: tuple[Conditions, ...] = ({"InstitutionName": ("X",)},)
    answer = {"StudyInstanceUID": UID, "PatientID": "P1"}
    found = search(Question(match={}, subject=SUBJECT, exclude=rules), lambda _s, _q: [answer], "q")
    (warning,) = found.warnings
    assert "exclude[0] excludes nothing: source 'main' does not answer InstitutionName" in warning


def test_labels_from_a_table(tmp_path: Path) -> None:
    path = table(tmp_path, "patientid\tremark\tsubject\nSECRET1\tx\t01\nSECRET2\t\t02\n\n")
    rule = Rule(attribute="PatientID", pattern=None, table=path)
    answers = [{"StudyInstanceUID": f"{UID}.{n}", "PatientID": f"SECRET{n}"} for n in (1, 2, 3)]
    found = search(Question(match={}, subject=rule), lambda _s, _q: answers, "q")
    assert [one.study.subject for one in found.candidates] == ["01", "02"]
    assert "has no line for its PatientID" in found.problems[0]
    assert "SECRET" not in found.problems[0]
    skipped = search(Question(match={}, subject=rule, skip_unlabelled=True), lambda _s, _q: answers, "q")
    assert skipped.problems == ()
    assert [one.excluded for one in skipped.left_out] == [False]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "line 1: needs one column 'PatientID'"),
        ("PatientID\tlabel\n", "line 1: needs one column 'subject'"),
        ("PatientID\tsubject\tSubject\n", "line 1: needs one column 'subject'"),
        ("PatientID\tsubject\nSECRET\tsub-01\n", "line 2 has no PatientID, or no subject"),
        ("PatientID\tsubject\n\t01\n", "line 2 has no PatientID"),
        ("PatientID\tsubject\nSECRET\t01\nSECRET\t02\n", "line 3 gives another subject"),
    ],
)
def test_a_bad_table_of_labels_is_explained(tmp_path: Path, content: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        read_labels(table(tmp_path, content), "PatientID", "subject")
    assert "SECRET" not in str(caught.value)


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
    studies = [("main", {**late, **PERSON}), ("disk", {**early, **PERSON})]
    lines = [line.split() for line in listed(studies, sources=False, identities=False).splitlines()]
    assert lines == [
        ["StudyDate", "StudyDescription", "Modalities", "Series", "Instances", "StudyInstanceUID"],
        ["20260101", "-", "MR", "SR", "-", "-", "1.2"],
        ["20260202", "Visit?[2J", "-", "-", "-", "1.1"],
    ]
    several = listed(studies, sources=True, identities=False).splitlines()
    assert [line.split()[0] for line in several] == ["source", "disk", "main"]


def test_identities_are_listed_where_they_are_asked_for() -> None:
    table = listed([("main", {"StudyInstanceUID": "1.1", **PERSON})], sources=False, identities=True)
    assert all(value in table for value in PERSON.values())


def row_of(uid: str, subject: str, source: str = "main") -> StudyRow:
    return StudyRow(study_instance_uid=uid, subject=subject, session="", source=source)


def test_a_table_keeps_its_order_and_gains_rows_at_its_end() -> None:
    before = [row_of("1.3", "03"), row_of("1.9", "09"), row_of("1.1", "01"), row_of("1.8", "08")]
    before.append(row_of("1.7", "07"))
    rows = [row_of("1.0", "00"), row_of("1.1", "1"), row_of("1.2", "02"), row_of("1.3", "03")]
    lost = Lost(pulled=frozenset({"1.9", "1.7"}), absent=frozenset({"1.9", "1.8"}))
    fates = [(one.row.study_instance_uid, str(one.fate)) for one in changes(rows, before, lost)]
    assert fates == [
        ("1.3", "same"),
        ("1.9", "kept"),  # pulled, and not at the source any more
        ("1.1", "changed"),
        ("1.8", "gone"),  # never pulled
        ("1.7", "gone"),  # at the source, but not asked for any more
        ("1.0", "new"),
        ("1.2", "new"),
    ]


def test_a_preview_says_what_becomes_of_each_study_and_names_nobody() -> None:
    before = [row_of("1.1", "01"), row_of("1.2", "02"), row_of("1.3", "03")]
    changed = changes([row_of("1.1", "1"), row_of("1.3", "03", "disk")], before, Lost())
    left_out = [
        LeftOut(answer={"StudyInstanceUID": "1.5", **PERSON}, reason="excluded by exclude[0]", excluded=True),
        LeftOut(answer={"StudyInstanceUID": "1.6", **PERSON}, reason="no pattern", excluded=False),
    ]
    told = {"1.1": {"StudyDate": "20260101", "StudyDescription": "Visit", **PERSON}}
    text = preview(changed, left_out, told, identities=False)
    assert [re.split("  +", line) for line in text.splitlines()] == [
        ["change", "subject", "session", "StudyDate", "StudyDescription", "StudyInstanceUID", "why"],
        ["changed", "1", "-", "20260101", "Visit", "1.1", "was sub-01"],
        ["gone", "02", "-", "-", "-", "1.2", "no question matches it any more"],
        ["changed", "03", "-", "-", "-", "1.3", "was of source 'main'"],
        ["excluded", "-", "-", "-", "-", "1.5", "excluded by exclude[0]"],
        ["no label", "-", "-", "-", "-", "1.6", "no pattern"],
    ]
    assert preview(changed, left_out, told, identities=True).count("SECRET1") == 3


# ------------------------------------------------------------------------------------------------ together


def candidate(
    uid: str, subject: str, session: str = "", date: str = "", origin: str = "q", **person: str
) -> Candidate:
    study = StudyRow(study_instance_uid=uid, subject=subject, session=session, source="main")
    day, _, time = date.partition(" ")
    return Candidate(study=study, origin=origin, answer={"StudyDate": day, "StudyTime": time, **person})


def test_rows_are_sorted_whatever_the_order_of_the_answers() -> None:
    studies = [
        candidate("1.4", "02"),
        candidate("1.1", "01", "b", "20260101 1200"),
        candidate("1.3", "01", "b", "20260101 0900"),
        candidate("1.2", "01", "a", "20270101 0900"),
    ]
    expected = ["1.2", "1.3", "1.1", "1.4"]
    for order in (studies, studies[::-1], studies[2:] + studies[:2]):
        settled = settle(order, once=False)
        assert [row.study_instance_uid for row in settled.rows] == expected
        assert settled.warnings == ("sub-01_ses-b is made of 2 studies",)


def test_one_study_under_two_labels_is_an_error() -> None:
    (problem,) = settle([candidate("1.1", "01"), candidate("1.1", "02")], once=False).problems
    assert "study 1.1 stands there twice, as sub-01 and sub-02" in problem
    with pytest.raises(QueryError, match="q: study"):
        require_sound([problem], "q")


OTHER = {"PatientBirthDate": "19800102", "PatientSex": "F"}


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ({"PatientID": "SECRET1", **OTHER}, {"PatientID": "SECRET1", **OTHER}, ""),
        ({"PatientID": "SECRET1", **OTHER}, {"PatientID": "SECRET2", **OTHER}, "doubt"),
        ({"PatientID": "SECRET1"}, {"PatientID": "SECRET2", **OTHER}, "doubt"),
        (
            {"PatientID": "SECRET1", **OTHER},
            {"PatientID": "SECRET2", **OTHER, "PatientBirthDate": "SECRET3"},
            "PatientID and PatientBirthDate differ in the studies 1.1 and 1.2",
        ),
        (
            {"PatientID": "SECRET1", **OTHER},
            {"PatientID": "SECRET2", **OTHER, "PatientSex": "M"},
            "PatientID and PatientSex differ in the studies 1.1 and 1.2",
        ),
        ({"PatientID": "SECRET1", **OTHER}, {"PatientID": "SECRET2", "PatientSex": "O"}, "doubt"),
        # one patient whose birth date was put right
        ({"PatientID": "SECRET1", **OTHER}, {"PatientID": "SECRET1", "PatientBirthDate": "19800101"}, ""),
    ],
)
def test_two_people_under_one_label(first: dict[str, str], second: dict[str, str], told: str) -> None:
    studies = [candidate("1.1", "01", "a", **first), candidate("1.2", "01", "b", **second)]
    settled = settle(studies, once=False)
    said = " ".join((*settled.problems, *settled.warnings))
    assert bool(settled.problems) == told.startswith("PatientID")
    assert bool(settled.warnings) == (told == "doubt")
    assert told in said or told == "doubt"
    assert "SECRET" not in said
    by_hand = [replace(one, by_hand=True) for one in studies]
    assert settle(by_hand, once=False).problems == ()


def test_the_same_answer_twice_is_fine_but_the_same_row_twice_is_not() -> None:
    twice = [candidate("1.1", "01", origin="line 2"), candidate("1.1", "01", origin="line 5")]
    assert len(settle(twice, once=False).rows) == 1
    assert settle(twice, once=False).problems == ()
    assert "line 2 and line 5" in settle(twice, once=True).problems[0]


def test_no_study_at_all_is_an_error() -> None:
    with pytest.raises(QueryError, match="no study matches"):
        require_any(settle([], once=False), "q")


def test_what_a_person_should_look_at() -> None:
    warnings = settle([candidate("1.1", "a"), candidate("1.2", "A", "x"), candidate("1.3", "A")], once=False)
    assert len(warnings.warnings) == 2
    assert "differ in case only" in warnings.warnings[0] + warnings.warnings[1]
    assert "with and without a session" in warnings.warnings[0] + warnings.warnings[1]
