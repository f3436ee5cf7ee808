"""From conditions to questions, and sources that answer other studies than were asked for."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import pytest

from pacs2bids.model import ConfigError
from pacs2bids.pacs.asking import Answers, questions, studies_with
from pacs2bids.pacs.matching import is_met, matches
from pacs2bids.peers import Attributes, Conditions


def asked(conditions: Conditions, *answers: Attributes) -> Answers:
    """What is made of a source that always answers the same."""
    return studies_with("main", conditions, [], lambda _source, _questions: answers)


def uids(answers: Answers) -> list[str]:
    return [one.get("StudyInstanceUID", "") for one in answers.studies]


def test_alternatives_make_a_question_each_and_uids_a_list() -> None:
    conditions = {"PatientID": ("A", "B"), "StudyDate": ("2026",), "StudyInstanceUID": ("1.1", "1.2")}
    assert list(questions(conditions)) == [
        {"PatientID": "A", "StudyDate": "2026", "StudyInstanceUID": "1.1\\1.2"},
        {"PatientID": "B", "StudyDate": "2026", "StudyInstanceUID": "1.1\\1.2"},
    ]


def test_long_lists_of_uids_are_cut() -> None:
    asked = list(questions({"StudyInstanceUID": tuple(f"1.{n}" for n in range(250))}))
    assert [one["StudyInstanceUID"].count("\\") + 1 for one in asked] == [100, 100, 50]


def test_too_many_questions_are_refused() -> None:
    many = tuple(map(str, range(50)))
    with pytest.raises(ConfigError, match="make 2,500 questions"):
        list(questions({"PatientID": many, "StudyDescription": many}))


def test_a_study_that_answers_two_questions_counts_once() -> None:
    both = {"StudyInstanceUID": "1.1", "ModalitiesInStudy": "MR\\PT"}
    answers = asked({"ModalitiesInStudy": ("MR", "PT")}, both, both)
    assert uids(answers) == ["1.1"]
    assert answers.warnings == ()


def test_answers_against_a_condition_are_left_out_and_told() -> None:
    """Orthanc answers studies without a date to an open range."""
    answers = asked(
        {"StudyDate": ("20260101-",)},
        {"StudyInstanceUID": "1.1", "StudyDate": ""},
        {"StudyInstanceUID": "1.2", "StudyDate": "20260201"},
        {"StudyInstanceUID": "1.3", "StudyDate": "20251231"},
    )
    assert uids(answers) == ["1.2"]
    assert answers.warnings == (
        "source 'main' answered 2 studies against the condition on StudyDate: left out",
    )


@pytest.mark.parametrize("answer", [{}, {"ModalitiesInStudy": ""}])
def test_a_condition_that_the_source_does_not_answer_is_warned_of(answer: Attributes) -> None:
    answers = asked({"ModalitiesInStudy": ("MR",)}, {"StudyInstanceUID": "1.1", **answer})
    assert uids(answers) == ["1.1"]
    assert "does not answer ModalitiesInStudy" in answers.warnings[0]
    assert len(answers.warnings) == 1


def test_a_source_may_be_more_generous_than_we_are() -> None:
    """Case, wide letters and composed letters differ between sources; what they match is no mistake."""
    decomposed = unicodedata.normalize("NFD", "Phäntom^Öne")
    answers = asked(
        {"PatientName": ("phäntom*",), "StudyDescription": ("HEAD",)},
        {"StudyInstanceUID": "1.1", "PatientName": decomposed, "StudyDescription": "Head"},
    )
    assert uids(answers) == ["1.1"]
    assert answers.warnings == ()
    assert is_met({"PatientName": ("ﾔﾏﾀﾞ*",)}, {"PatientName": "ヤマダ^タロウ"})
    assert matches({"PatientName": "Phäntom^Öne"}, {"PatientName": decomposed})
    assert not is_met({"StudyDescription": ("Head",)}, {})


def test_a_source_that_reads_ascii_only_is_asked_with_wildcards() -> None:
    names = {"1.1": "Phäntom^Öne", "1.2": "Phontom^One", "1.3": "山田^太郎", "1.4": "Other"}
    rounds: list[list[str]] = []

    def ask(_source: str, some: Sequence[Attributes]) -> Sequence[Attributes]:
        """It takes each byte beyond ASCII for what it is not."""
        rounds.append([one["PatientName"] for one in some])
        rows = [{"StudyInstanceUID": uid, "PatientName": name} for uid, name in names.items()]
        readable = [one for one in some if one["PatientName"].isascii()]
        return [row for row in rows if any(matches(one, row) for one in readable)]

    answers = studies_with("main", {"PatientName": ("Phänt*", "山田*")}, [], ask)
    assert rounds == [["Phänt*", "山田*"], ["Ph*nt*", "*"]]
    assert uids(answers) == ["1.1", "1.3"]


@pytest.mark.parametrize("name", ["Phntom^ne", "Ph?ntom^?ne", "Ph\ufffdntom"])
def test_names_that_a_source_matches_and_cannot_write(name: str) -> None:
    """Orthanc reads UTF-8, matches, and leaves out of the answer what its own encoding lacks."""
    answers = asked({"PatientName": ("Phänt*",)}, {"StudyInstanceUID": "1.1", "PatientName": name})
    assert uids(answers) == ["1.1"]
    assert answers.warnings == ()


def test_names_that_a_source_writes_well_and_does_not_match() -> None:
    answers = asked(
        {"PatientName": ("山田*",)},
        {"StudyInstanceUID": "1.1", "PatientName": "Phäntom^Öne"},
        {"StudyInstanceUID": "1.2", "PatientName": ""},  # all of it may be lost
    )
    assert uids(answers) == ["1.2"]
    assert "1 study against the condition on PatientName" in answers.warnings[0]
