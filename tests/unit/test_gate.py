"""The privacy gate: a planted identifier is found wherever it stands, and its value never told."""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import bidsschematools.schema
import msgspec
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

import synthetic
from pacs2bids.dates import Hide
from pacs2bids.files import read_record, sha256
from pacs2bids.gate import NOTHING, UID, Needles, cure, hits, masked, needles_of, search_file, together
from pacs2bids.header import Header
from pacs2bids.identifiers import of_answer
from pacs2bids.identity import Identifying
from pacs2bids.leaks import Known, leaks, leaks_of_pages, leaks_of_rows
from pacs2bids.model import (
    DatasetError,
    Defacing,
    Identity,
    Json,
    Manifest,
    PlacedSession,
    PlanRow,
    PrivacyRules,
    Stack,
    VolumeFile,
)
from pacs2bids.place import DESCRIPTIONS, Privacy, StudyVolumes, place_session
from pacs2bids.sidecar_fields import FIELDS, Policy
from pacs2bids.words import WORDS

STUDY = "1.2.3"
IDENTITY = Identity(
    study_instance_uid=STUDY,
    values={
        "PatientName": ("Zzyzx^Quux",),
        "PatientID": ("Q-90210",),
        "OtherPatientIDs": ("123-45-678",),
        "PatientBirthDate": ("19700302",),
        "AccessionNumber": ("ACC4711X",),
        "OperatorsName": ("Wibble^Wobble",),
        "StudyDate": ("20260304",),
    },
)
NEEDLES = needles_of([IDENTITY])
SPELLINGS = {
    "PatientName": (
        "Zzyzx^Quux",
        "QUUX, Zzyzx",
        "zzyzx_quux",
        "t1_QuuxZzyzx01",
        "Zzýzx quüx",
        "MPRAGEquux",
        "zzyzx",
    ),
    "PatientID": ("Q-90210", "q90210", "sub Q 90210", "xQ-90210.dcm"),
    "OtherPatientIDs": ("123-45-678", "12345678", "12 345 678", "12.345.678", "123/456-78"),
    "PatientBirthDate": (
        *("19700302", "1970-03-02", "02.03.1970", "03/02/1970", "2.3.1970", "02.03.70", "19700302101500"),
        *(
            "2 Mar 1970",
            "March 2, 1970",
            "02-MAR-1970",
            "2nd of March 1970",
            "March 2nd 1970",
            "2. März 1970",
        ),
        *(
            "2 de marzo de 1970",
            "2 mars 1970",
            "2.3.70",
            "3/2/70",
            "70-03-02",
            "700302",
            "020370",
            "02-MAR-70",
        ),
        *("2 mar 70", "19 70 03 02"),
    ),
    "AccessionNumber": ("ACC4711X", "acc-4711-x"),
    "OperatorsName": ("Wobble Wibble",),
    "StudyDate": ("2026-03-04", "4.3.2026"),
}
HARMLESS = (
    *("zzyzxs", "quuxes", "xquux", "0.90210", "190210", "Q-902101", "19700303", "1.9.7003", "3021970"),
    # no dates: times, lists, versions; no numbers: decimals, longer lists
    *("02:03:70", "2 3 70", "1.2.3.70", "2.3.70.1", "2-3.70", "0.700302", "70-3-2", "2/30/70"),
    *("12.345678", "0 12 345 678", "12 345 678.5", "12 345 6789", "12, 345, 678"),
    *("wobble_dti", "1.2.840.10008.5.1.4.1.1.4", "sub-01_task-rest_bold", "2026 volumes", "12.3.1970.2"),
)


def of(**values: str) -> Needles:
    return needles_of(
        [Identity(study_instance_uid=STUDY, values={key: (one,) for key, one in values.items()})]
    )


def told(text: str, needles: Needles = NEEDLES) -> set[str]:
    return {hit.attribute for hit in hits(text, needles)}


# ------------------------------------------------------------------------------------------------ what is f


@pytest.mark.parametrize("attribute", SPELLINGS)
def test_usual_spellings_are_found(attribute: str) -> None:
    missed = [text for text in SPELLINGS[attribute] if told(f"a {text} b") != {attribute}]
    assert not missed


def test_words_and_numbers_that_only_look_alike_are_not() -> None:
    assert [text for text in HARMLESS if told(text)] == []


def test_letters_in_the_writing_of_html_addresses_and_json_are_read() -> None:
    needles = of(PatientName="Müqüx^O'Zyzz", PatientID="0042424242")
    for text in (
        *(
            "M&uuml;q&#252;x",
            "M&#xfc;q&uuml;x",
            "M%C3%BCq%C3%BCx",
            "M\\u00fcq\\u00fcx",
            "O&#39;Zyzz M&uuml;q&uuml;x",
        ),
        *("x&amp;M&uuml;q&uuml;x", "%20M%C3%BCq%C3%BCx%20"),
    ):
        assert told(text, needles) == {"PatientName"}, text
        assert "q" not in masked(text, needles)
    assert masked("100% of a & b %zz \\ud800", needles) == "100% of a & b %zz \\ud800"


def test_numbers_as_tables_write_them() -> None:
    """Zeros before go where a program takes an ID for a number; .0 comes where others are missing."""
    needles = of(PatientID="0042424242")
    for text in ("42424242", "0042424242", "42424242.0", "00042424242", "ID42424242"):
        assert told(text, needles) == {"PatientID"}, text
    assert told("424242421 42424242.5 0.42424242 0.0042424242", needles) == set()
    assert told("sub-424242", of(PatientID="XY-424242")) == {"PatientID"}
    assert {hit.field for hit in search_file("a.json", b'{"A": 42424242.0}', needles)} == {"A"}
    assert told("neuro", of(RequestedProcedureID="NEURO")) == set(), "what was ordered"
    assert told("neuro", of(PatientID="NEURO")) == {"PatientID"}


def test_more_spellings_of_days_and_other_scripts() -> None:
    for text in ("1970-Mar-02", "1970年3月2日"):
        assert told(text, of(PatientBirthDate="19700302")) == {"PatientBirthDate"}, text
    assert told("검사홍길동님", of(PatientName="Hong^Gildong=洪^吉洞=홍^길동")) == {"PatientName"}


def test_messages_name_no_heading_key_or_log_that_identifies(tmp_path: Path) -> None:
    (tmp_path / "participants.tsv").write_text("participant_id\tZzyzx Quux\nsub-01\tQuux\n")
    (tmp_path / "sub-01_note.json").write_text('{"Quux": {"Note": "Zzyzx"}}')
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/Q-90210.log").write_text("Zzyzx^Quux\n")
    known = Known(subjects={"sub-01": NEEDLES}, everyone=NEEDLES.whole)
    said = [str(one) for one in leaks(tmp_path, known)] + [
        f"{path} {hit}" for path, hit in leaks_of_pages(tmp_path / "logs", known)
    ]
    said += [str(hit) for hit in search_file("a.json", (tmp_path / "sub-01_note.json").read_bytes(), NEEDLES)]
    assert len(said) >= 4
    assert not re.search("quux|zzyzx|90210", " ".join(said), re.IGNORECASE)


def test_no_text_takes_time_without_end() -> None:
    """500 kB took minutes: what looked like a UID was tried again from each of its ends."""
    began = time.process_time()
    assert told("1.2.3.4.5.6.7." * 36_000 + "x") <= {UID}
    assert told("1.2.3.4.5.6.00" * 36_000) <= {UID}
    assert time.process_time() - began < 30


RUN_TOGETHER = {
    "PatientName": ("acq-T1Wzyzzyxrepeat", "task-quuxifyzyzzyx", "acq-xXZYZZYXx", "rec-aquuxifyb"),
    "PatientID": ("acq-t190210042x", "desc-1902100420"),
    "PatientBirthDate": ("acq-t219700302rep", "acq-x102031970"),
}


@pytest.mark.parametrize("attribute", RUN_TOGETHER)
def test_labels_are_searched_without_borders_between_words(attribute: str) -> None:
    """A rule or a heuristic strips descriptions for labels: "T1W zyzzyx repeat" becomes one word."""
    needles = of(PatientName="Zyzzyx^Quuxify", PatientID="90210042", PatientBirthDate="19700302")
    for label in RUN_TOGETHER[attribute]:
        name = f"sub-01/anat/sub-01_{label}_T1w.nii.gz"
        assert {(hit.attribute, hit.field) for hit in search_file(name, b"", needles)} == {
            (attribute, "its name")
        }, label
        line = f"filename\tacq_time\nanat/sub-01_{label}_T1w.nii.gz\t12:00:00\n".encode()
        assert [hit.attribute for hit in search_file("sub-01_scans.tsv", line, needles)] == [attribute]
        assert label not in masked(name, needles)


def test_what_is_harmless_in_labels() -> None:
    needles = of(PatientName="Allen^Agnet", PatientID="10203")
    assert told("sub-01_task-challenge_acq-magnetom_bold run-1102034 a wallenby", needles) == set()
    assert told("task-challengeallen", needles) == {"PatientName"}
    assert told("task-wallenby", needles) == {"PatientName"}
    assert told("task-wallenby", needles.without(["Wallenby"])) == set()
    assert told("sub-190210421", of(PatientID="9021042").without(["190210421"])) == set(), "as derived"
    assert told("task-wallenby", together([needles, needles.without(["wallenby"])])) == set()


def test_remedies_are_safe() -> None:
    """A name is not let out for good; and what rules write for nothing is null, None being a text there."""
    needles = of(PatientName="Zyzzyx^Quuxify", PatientBirthDate="19700302", PatientID="90210042")
    said = {text: [cure(hit) for hit in hits(text, needles, "F")] for text in ("zyzzyx", "zyzzyx quuxify")}
    said["born"] = [cure(hit) for hit in hits("1970-03-02", needles, "F")]
    assert all(said.values())
    assert not [one for some in said.values() for one in some if "pseudonyms" in one or "null" not in one]
    assert "words" in said["zyzzyx"][0]
    assert "pseudonyms: [PatientID]" in cure(hits("90210042", needles, "F")[0])


def test_uids_are_found_by_their_form() -> None:
    assert told("of 1.3.12.2.1107.5.2.43.66012.2026030410154512345.") == {UID}
    assert told("MR.1.3.12.2.1107.5.2.43.66012.2026030410154512345_1.dcm") == {UID}
    assert told("SIEMENS syngo 2.3.4.5.6.7 1.2.840.10008.5.1.4.1.1.4.1_x") == set()
    assert not hits("1.3.12.2.1107.5.2.43.66012.2026030410154512345", NOTHING)


def test_names_of_other_scripts_and_customs() -> None:
    japanese = of(PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう")
    assert told("検査_山田太郎様", japanese) == {"PatientName"}
    assert told("tarou_yamada", japanese) == {"PatientName"}
    assert told("МРТ Иванов", of(PatientName="Иванов^Иван")) == {"PatientName"}
    assert told("mueller", of(PatientName="Müller^Zed")) == {"PatientName"}
    assert told("Müller", of(PatientName="Mueller^Zed")) == {"PatientName"}
    assert told("MCQUUX", of(PatientName="McQuux^Zed")) == {"PatientName"}
    assert told("quux zzyzx", of(PatientName="Zzyzx^Quux^Xyzzy^Dr^MD")) == {"PatientName"}
    assert told("md 3 dr", of(PatientName="Zzyzx^Quux^Xyzzy^Dr^MD")) == set()


# header -> what it is found as; and what it is not, as that is another name or a word
UMLAUTS = {
    "Mueller": ("mueller müller muller", ""),
    "Jäger": ("jaeger jäger jager", ""),
    "Goethe": ("goethe göthe gothe", ""),
    "Böhm": ("boehm böhm bohm", ""),
    "Boehm": ("boehm böhm bohm", ""),
    "Schroeder": ("schroeder schröder schroder", ""),
    "Sørensen": ("sørensen soerensen sorensen", "sarensen"),
    "Noergaard": ("nørgård noergaard norgard", ""),
    "Weiß": ("weiß weiss", "weib"),
    "Maes": ("maes", "mas mäs"),
    "Raes": ("raes", "ras"),
    "Noel": ("noel noël", "nol"),
    "Poe": ("poe", "po"),
    "Loew": ("loew", "low löw"),
    "Bauer": ("bauer", "baur"),
    "Breuer": ("breuer", "breur"),
    "Kaas": ("kaas", "kas"),
    "Vasquez": ("vasquez vásquez", "vasquz"),
    "Щербаков": ("щербаков shcherbakov", "sherbakov"),
    "Юрьев": ("юрьев iurev yurev", ""),
    "Андрей": ("андрей andrei andrey", ""),
    "Παπαδόπουλος": ("παπαδοπουλος papadopoulos", "papadopoylos"),
}


@pytest.mark.parametrize("name", UMLAUTS)
def test_letters_that_others_write_otherwise(name: str) -> None:
    needles = of(PatientName=f"{name}^Zyq")
    found, not_found = UMLAUTS[name]
    assert [word for word in found.split() if not told(f"t1 {word} x", needles)] == []
    assert [word for word in not_found.split() if told(f"t1 {word} x", needles)] == []


def test_a_family_name_with_an_initial() -> None:
    assert told("quuxj_T1", of(PatientName="Quux^John")) == {"PatientName"}
    assert told("T1 jquux", of(PatientName="Quux^John")) == {"PatientName"}
    assert told("quuxs jones pathj", of(PatientName="Quux^Sam")) == set()
    assert told("heads sheads path", of(PatientName="Head^Sam")) == set()
    assert told("path", of(PatientName="Pat^Henry")) == set()


def test_short_and_common_names_count_together_and_the_short_alone_are_a_doubt() -> None:
    needles = of(PatientName="Wu^Head")
    assert told("head", needles) == set()
    assert told("Head_Wu", needles) == {"PatientName"}
    (doubt,) = hits("t1 wu", needles)
    assert not doubt.is_sure
    assert not hits("wurst wu1", needles)
    assert {"phantom", "mr", "siemens", "rest"} <= WORDS
    assert not hits("Phantom MR 1 rest", of(PatientName="Phantom^MR", PatientID="1", AccessionNumber="001"))


def test_the_vocabulary_of_bids_is_no_name() -> None:
    schema = bidsschematools.schema.load_schema()
    rules = schema.rules.files.raw
    suffixes = {one for group in rules for rule in rules[group].values() for one in rule.get("suffixes", ())}
    entities = {schema.objects.entities[one].name for one in schema.rules.entities}
    known = {one.lower() for one in (*suffixes, *entities, *schema.objects.datatypes)}
    assert sorted(known - WORDS - {""}) == []


def test_the_values_of_our_own_fields_are_no_names() -> None:
    """What BIDS lets a field of ours say, whoever the patient is."""
    metadata = bidsschematools.schema.load_schema().objects.metadata.to_dict().values()
    ours = {row.bids for row in FIELDS} | {"M0Type", "Units", "SliceEncodingDirection", "DatasetType"}
    values = [word for one in metadata if one["name"] in ours for word in allowed_by(one)]
    words = {word.lower() for value in values for word in re.findall("[A-Z]?[a-z]{2,}|[A-Z]{3,}", value)}
    assert len(words) > 20
    assert sorted(word for word in words if len(word) > 2 and word not in WORDS) == []


def allowed_by(definition: object) -> list[str]:
    """The words of all ``enum`` in a definition of the schema."""
    if isinstance(definition, list):
        return [word for one in definition for word in allowed_by(one)]
    if not isinstance(definition, dict):
        return []
    here = [word for word in definition.get("enum", ()) if isinstance(word, str)]
    return here + [word for key, one in definition.items() if key != "enum" for word in allowed_by(one)]


def test_a_short_name_is_not_put_together_of_words() -> None:
    assert told("Axial (Interleaved I to S)", of(PatientName="Ito^Zed")) == set()
    assert told("Axial Ito, ito_", of(PatientName="Ito^Zed")) == {"PatientName"}
    assert told("Zyz-Quux", of(PatientName="ZyzQuux^Abc")) == {"PatientName"}


def test_what_may_leave() -> None:
    assert not hits("sub-Q90210", needles_of([IDENTITY], pseudonyms=["PatientID"]))
    assert not hits("sub-Q90210", NEEDLES.without(["Q90210"]))
    assert not hits("ses-20260304", needles_of([IDENTITY], dates=False))
    assert hits("zzyzx quux", NEEDLES.without(["quux"])), "the whole name is one still"
    assert not hits("quux", NEEDLES.whole)


def test_the_value_is_blotted_out_of_names() -> None:
    assert masked("sub-01/anat/sub-01_acq-ZzyzxQuux_T1w.json", NEEDLES) == (
        "sub-01/anat/sub-01_acq-***_T1w.json"
    )


def test_many_patients_take_no_longer() -> None:
    many = needles_of([IDENTITY, *(of_number(number) for number in range(1000))])
    assert told("zzyzx", many) == {"PatientName"}
    assert told("Aab^Zed7", many) == set()


def test_the_quick_look_hides_nothing() -> None:
    """Texts of all spellings, joined and broken in every way a key may be, with it and without."""
    gaps = ("", " ", "-", "×", "…_ ")
    words = ("zzyzx", "QUUX", "Quux", "Q", "90210", "1970", "03", "02", "é", "ß")
    texts = [text for some in SPELLINGS.values() for text in some] + [*HARMLESS]
    texts += [f"{a}{gap}{b}{gap}{c}" for a in words for b in words for c in words for gap in gaps]
    texts += [
        "of 1.3.12.2.1107.5.2.43.66012.2026030410154512345.",
        "SYNGO 2.3.4.5.6.7",
        "ﬁ ＱＵＵＸ",
        "STRAẞE",
    ]
    cases = (NEEDLES, of(PatientName="Straße^Zed"), of(PatientName="Yamada^Tarou=山田^太郎"))
    for needles in cases:
        thorough = replace(needles, solid=None)
        assert [text for text in texts if hits(text, needles) != hits(text, thorough)] == []
    assert sum(bool(told(text)) for text in texts) > 1000, "of 5,000"


def of_number(number: int) -> Identity:
    return Identity(study_instance_uid=STUDY, values={"PatientID": (f"N{number:07d}",)})


# ------------------------------------------------------------------------------------------- where it is from


def test_headers_tell_who_it_is() -> None:
    data = Dataset()
    data.SpecificCharacterSet = "ISO_IR 192"
    data.PatientName, data.PatientID = "Zzyzx^Quüx", "Q-90210"
    data.AcquisitionDateTime = "20260304101500.5"
    other = Dataset()
    other.PatientID = "R-90210"
    data.OtherPatientIDsSequence = Sequence([other])
    identifying = Identifying()
    identifying.see(Header.of(data))
    data.PatientID = "S-90210"  # what another file says
    identifying.see(Header.of(data))
    assert identifying.identity(STUDY).values == {
        "PatientName": ("Zzyzx^Quüx",),
        "PatientID": ("Q-90210", "R-90210", "S-90210"),
        "AcquisitionDateTime": ("20260304",),
    }
    assert of_answer(STUDY, {"PatientName": "Zzyzx^Quux", "PatientID": "", "Modality": "MR"}).values == {
        "PatientName": ("Zzyzx^Quux",)
    }


# --------------------------------------------------------------------------------------------------- in files


def a_volume(**fields: tuple[int, bytes]) -> bytes:
    head = bytearray(synthetic.small_header())
    for start, text in fields.values():
        head[start : start + len(text)] = text
    return bytes(head) + bytes(16)


def with_extension(text: bytes) -> bytes:
    volume = bytearray(a_volume())
    volume[348] = 1
    volume[108:112] = np.float32(352 + 64).tobytes()
    extension = (64).to_bytes(4, "little") + (6).to_bytes(4, "little") + text.ljust(56, b"\0")
    return bytes(volume[:352]) + extension + bytes(16)


PLANTED: dict[str, tuple[str, bytes, str]] = {
    "sidecar": ("a_T1w.json", b'{"Echo": 1, "ImageComments": "of Quux"}', "ImageComments"),
    "sidecar, deep": ("a_T1w.json", b'{"A": [{"B": "Q90210"}]}', "A.B"),
    "sidecar, a number": ("a.json", b'{"A": 19700302}', "A"),
    "sidecar, a key": ("a.json", b'{"ZzyzxQuux": 1}', "a key"),
    "scans.tsv": ("a_scans.tsv", b"filename\tnote\nanat/a.nii.gz\tMr Zzyzx moved\n", "note in line 2"),
    "sessions.tsv": (
        "a_sessions.tsv",
        b"session_id\tacq_time\nses-1\t2026-03-04T10:00\n",
        "acq_time in line 2",
    ),
    "events, a heading": ("a_events.tsv", b"onset\tZzyzxQuux\n1\t2\n", "its heading"),
    "a bval file": ("a.bval", b"0 1000 ACC4711X\n", "line 1"),
    "gz contents": ("a_physio.tsv.gz", gzip.compress(b"1\t2\n3\tQuux\n"), "column 2 in line 2"),
    "two gzip members": ("a.tsv.gz", gzip.compress(b"1\n") + gzip.compress(b"Quux\n"), "column 1 in line 2"),
    "Latin-1": ("a.txt", "Quüx".encode("latin-1"), "line 1"),
    "UTF-16": ("a.txt", "of Quux".encode("utf-16"), "line 1"),
    "a file name": ("sub-Quux_T1w.bval", b"0", "its name"),
    "descrip": ("a.nii.gz", gzip.compress(a_volume(descrip=(148, b"TE=3 Zzyzx"))), "descrip"),
    "aux_file": ("a.nii.gz", gzip.compress(a_volume(aux_file=(228, b"Q-90210"))), "aux_file"),
    "intent_name": ("a.nii.gz", gzip.compress(a_volume(intent=(328, b"quux"))), "intent_name"),
    "db_name": ("a.nii.gz", gzip.compress(a_volume(db_name=(14, b"quux"))), "db_name"),
    "NIfTI extension": ("a.nii.gz", gzip.compress(with_extension(b"<x>QUUX</x>")), "extension 1"),
    "plain NIfTI": ("a.nii", with_extension("Quux".encode("utf-16-le")), "extension 1"),
}


@pytest.mark.parametrize("place", PLANTED)
def test_a_planted_identifier_is_found(place: str, tmp_path: Path) -> None:
    name, content, field = PLANTED[place]
    path = tmp_path / "it"
    path.write_bytes(content)
    for given in (content, path):
        found = search_file(name, given, NEEDLES)
        assert {hit.field for hit in found} == {field}
        assert not any(value in str(found).lower() for value in ("quux", "zzyzx", "90210", "1970", "4711"))


def test_samples_and_times_are_no_numbers_of_patients() -> None:
    """A run of a minute has most numbers of four digits, and a few of five."""
    needles = of(PatientID="70302", PatientName="Quux^Zed")
    events = b"onset\tresponse_time\tcode\n70302\t70302\t1\n1\tn/a\t70302\nn/a\tquux\t1\n"
    found = search_file("sub-01_task-look_events.tsv", events, needles)
    assert [hit.field for hit in found] == ["code in line 3", "response_time in line 4"]
    samples = b"70302\t-0.5\nn/a\t70302.0\n"
    assert search_file("sub-01_physio.tsv.gz", gzip.compress(samples), needles) == []
    found = search_file("sub-01_physio.tsv.gz", gzip.compress(samples + b"1\tID 70302\n"), needles)
    assert [hit.field for hit in found] == ["column 2 in line 3"]
    assert search_file("sub-01_scans.tsv", b"filename\tnote\na.nii.gz\t70302\n", needles)


def test_bytes_that_are_no_text_hold_names_and_no_letters_by_chance() -> None:
    noise = random.Random(1).randbytes(500_000)
    needles = of(PatientName="Ann^Lee")
    assert search_file("sub-01/eeg/a.eeg", noise, needles) == []
    for text in (b"0\0\0Ann^Lee\0\0", b"patient: Lee, scanned".ljust(80), "Ann^Lee".encode("utf-16-le")):
        (hit, *_) = search_file("sub-01/eeg/a.eeg", noise + b"\0\1" + text + b"\0\1" + noise, needles)
        assert (hit.field, hit.attribute) == ("a text in it", "PatientName")


def test_words_of_tasks_and_sessions_are_no_names() -> None:
    for word in ("Day", "Faces", "Story", "Tone", "Visit", "Ernst", "Hahn"):
        assert told(f"ses-{word.lower()}1_task-{word.lower()}", of(PatientName=f"{word}^Zyq")) == set()
        assert told(f"zyq_{word}", of(PatientName=f"{word}^Zyq")) == {"PatientName"}


def test_voxels_are_no_text_and_clean_files_hold_nothing() -> None:
    voxels = a_volume()[:-8] + b"QuuxQuux"
    assert not search_file("a.nii.gz", gzip.compress(voxels), NEEDLES)
    assert not search_file("a.json", b'{"Manufacturer": "Siemens", "EchoTime": 0.90210}', NEEDLES)


# ------------------------------------------------------------------------------------- over all that is there

DATASET = {
    "README.md": ("Thanks to Quux and zzyzx_quux\n", "IDENTITY", "line 1 holds PatientName"),
    "participants.tsv": (
        "participant_id\tnote\nsub-01\tMr Quux\nsub-02\tQuux\n",
        "IDENTITY",
        "note in line 2",
    ),
    "dataset_description.json": (
        '{"Authors": ["A. Quux", "Zzyzx Quux"]}',
        "IDENTITY",
        "Authors holds PatientName",
    ),
    "phenotype/moca.tsv": (
        "participant_id\tnote\nsub-01\tMr Quux\nsub-02\tQuux\n",
        "IDENTITY",
        "note in line 2",
    ),
    "sub-01/sub-01_sessions.tsv": ("session_id\tnote\nses-1\tQuux\n", "IDENTITY", "note in line 2"),
    "sub-01/func/sub-01_task-rest_events.tsv": ("onset\tname\n1\tQuux\n", "IDENTITY", "name in line 2"),
    "sub-01/anat/sub-01_T1w.json": (
        '{"Edited": "of Quux"}',
        "IDENTITY",
        "Edited holds a part of PatientName",
    ),
    "code/convert.sh": ("echo Q-90210\n", "IDENTITY", "line 1 holds PatientID"),
    "sourcedata/sub-01/sub-01_Quux_bold.dicom.tgz": ("DICM of Quux", "IDENTITY", "its name"),
    "derivatives/x/notes.txt": ("Zzyzx^Quux", "", ""),
    "sub-02/anat/sub-02_T1w.json": ('{"SeriesDescription": "quux"}', "", ""),  # of another person
}


def test_the_whole_dataset_is_searched(tmp_path: Path) -> None:
    for name, (content, *_) in DATASET.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    subjects = {"sub-01": NEEDLES, "sub-02": of(PatientName="Wobble^Xyz")}
    found = list(leaks(tmp_path, Known(subjects=subjects, everyone=together(subjects.values()).whole)))
    nature = [finding for finding in found if finding.code == "SOURCEDATA_IDENTIFIES"]
    assert [(one.location, one.severity) for one in nature] == [("sourcedata", "warning")]
    hidden = {masked(name, NEEDLES): name for name in DATASET}
    by_name = {hidden[one.location]: one for one in found if one not in nature}
    assert by_name.keys() == {name for name, (_, code, _) in DATASET.items() if code}
    for name, finding in by_name.items():
        assert (finding.severity, finding.code) == ("error", DATASET[name][1])
        assert finding.message.startswith(DATASET[name][2])
    assert not any(value in str(found).lower() for value in ("quux", "zzyzx", "90210"))


def test_report_and_logs_are_searched(tmp_path: Path) -> None:
    page, files, logs = tmp_path / "report.html", tmp_path / "report_files", tmp_path / "logs"
    for path, text in {
        page: "<p>×</p>\n<td>Zzyzx Quux T1</td><img src='data:image/png;base64,QuuxZzyzx'>\n",
        files / "sub-01_ses-a.html": "<p>Wobble Xyz</p>\nQ-90210\n",  # the one is another's
        files / "sub-02.html": "<p>Quux</p>\nof 1.3.12.2.1107.5.2.43.66012.2026030410154512345\n",
        logs / "place/sub-01.log": "2026-03-04 10:00:00,1 INFO  pacs2bids: study 1.2.3\nmoved Q-90210\n",
        logs / "pull" / f"{STUDY}.log": "Zzyzx Quux\n",
        logs / "pull/9.9.log": "Wobble Xyz\nZzyzx Quux\n",  # of a study that is in no session
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    subjects = {"sub-01": needles_of([IDENTITY], dates=False), "sub-02": of(PatientName="Wobble^Xyz")}
    everyone = together(subjects.values()).whole
    known = Known(subjects=subjects, everyone=everyone, studies={STUDY: "sub-01"})
    found = [
        (Path(path).relative_to(tmp_path).as_posix(), str(hit))
        for root in (page, files, logs, tmp_path / "none")
        for path, hit in leaks_of_pages(root, known)
    ]
    assert found == [
        ("report.html", "line 2 holds PatientName"),
        ("report_files/sub-01_ses-a.html", "line 2 holds PatientID"),
        ("logs/place/sub-01.log", "line 2 holds PatientID"),
        (f"logs/pull/{STUDY}.log", "line 1 holds PatientName"),
        ("logs/pull/9.9.log", "line 1 holds PatientName"),
        ("logs/pull/9.9.log", "line 2 holds PatientName"),
    ]


def test_series_that_are_only_in_the_report_are_told() -> None:
    rows = [a_row("", "t1 Quux"), a_row(NAME, "t1 Quux"), a_row("", "t1")]
    (finding,) = leaks_of_rows("sub-01", rows, NEEDLES)
    assert finding.severity == "warning"
    assert "SeriesDescription holds a part of PatientName in series 2, which is not in" in finding.message


# --------------------------------------------------------------------------------------------------- at work

NAME = "sub-01/anat/sub-01_T1w"
DEFAULT_RULES, NOT_DEFACED = PrivacyRules(), Defacing()


def a_row(name: str, description: str) -> PlanRow:
    return PlanRow(
        study_instance_uid=STUDY,
        series_instance_uid="1",
        series_number=2,
        series_description=description,
        stack_id="002-1",
        acquired="2026-03-04T10:00:00",
        dims="",
        instances=1,
        bids_name=name,
        reason="",
    )


def place(
    root: Path,
    metadata: dict[str, Json],
    name: str = NAME,
    volume: bytes = b"",
    *,
    stacks: Mapping[str, Stack] = MappingProxyType({}),
    rules: PrivacyRules = DEFAULT_RULES,
    defacing: Defacing = NOT_DEFACED,
) -> None:
    """One volume, as the workflow places it."""
    folder = root / "work/studies" / STUDY / "volumes"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "002-1.json").write_text(json.dumps({"SeriesDescription": "t1"}))
    image = folder / "002-1.nii.gz"
    image.unlink(missing_ok=True)  # that of before is a link to the dataset's, and read-only
    image.write_bytes(gzip.compress(volume or a_volume()))
    made = VolumeFile(stack_id="002-1", input_digest="", files={"002-1.json": "1", "002-1.nii.gz": "2"})
    manifest = Manifest(engine_version="0", study_instance_uid=STUDY, volumes=(made,))
    session_dir = root / "work/sessions/sub-01"
    session_dir.mkdir(parents=True, exist_ok=True)
    row = msgspec.structs.replace(a_row(name, ""), metadata=metadata)
    place_session(
        session_dir=session_dir,
        bids=root / "bids",
        rows=[row],
        studies={STUDY: StudyVolumes(folder=folder, manifest=manifest, stacks=stacks)},
        participant={},
        hide=Hide(policy="day_one"),
        privacy=Privacy(needles=NEEDLES, rules=rules, defacing=defacing, key=b"k" * 32),
    )


@pytest.mark.parametrize(
    ("where", "what", "planted"),
    [
        (f"{NAME}.json", "Description holds PatientName;", {"metadata": {"Description": "Zzyzx^Quux"}}),
        (f"{NAME[:-3]}acq-***_T1w.json", "its name holds a part", {"name": f"{NAME[:-3]}acq-Quux_T1w"}),
        (f"{NAME}.nii.gz", "descrip holds PatientID", {"volume": a_volume(descrip=(148, b"Q-90210"))}),
    ],
)
def test_nothing_of_the_session_is_placed(
    tmp_path: Path, where: str, what: str, planted: dict[str, object]
) -> None:
    with pytest.raises(DatasetError) as error:
        place(tmp_path, **{"metadata": {}, **planted})  # type: ignore[arg-type]
    message = str(error.value)
    assert message.startswith(f"{where}: {what}")
    assert "nothing of sub-01 is placed" in message
    assert "docs/privacy.md" in message
    assert not any(value in message.lower() for value in ("quux", "zzyzx", "90210"))
    assert not (tmp_path / "bids").exists()


def test_one_error_tells_the_remedies_of_all_places(tmp_path: Path) -> None:
    """Who mends the name alone must not meet the next refusal in the next run."""
    typed = "EPI Quux RL"
    metadata = {"SeriesDescription": typed, "ProtocolName": typed, "Description": typed}
    with pytest.raises(DatasetError) as error:
        place(tmp_path, metadata, name=f"{NAME[:-3]}acq-Quux_T1w")
    message = str(error.value)
    for remedy in (
        "give another name",
        "`privacy: {descriptions: dropped}` in config.yaml",
        "`sidecar: {SeriesDescription: null, ProtocolName: null}`",
        "leave the field out",
        "`words: [...]`",
    ):
        assert message.count(remedy) == 1, remedy
    assert message.count(" holds ") == 3
    assert re.search(r"; \d more\); nothing of sub-01 is placed", message)
    assert len(message) < 800
    assert "quux" not in message.lower()


def test_a_clean_session_is_placed(tmp_path: Path) -> None:
    place(tmp_path, {})
    assert (tmp_path / f"bids/{NAME}.json").is_file()


def test_what_people_note_in_the_scans_table_is_searched(tmp_path: Path) -> None:
    place(tmp_path, {})
    table = tmp_path / "bids/sub-01/sub-01_scans.tsv"
    heading, line = table.read_text().splitlines()
    table.write_text(f"{heading}\tnote\n{line}\tMr Quux moved\n")
    with pytest.raises(DatasetError, match="note in line 2 holds a part of PatientName"):
        place(tmp_path, {"EchoTime": 0.003})


def test_what_is_defaced_is_placed_so(tmp_path: Path) -> None:
    (tmp_path / "blank.py").write_text(
        "import gzip, sys; content = gzip.open(sys.argv[1]).read()\n"
        "gzip.open(sys.argv[2], 'wb').write(content[:352] + bytes(16))"
    )
    command = f"{sys.executable} {tmp_path}/blank.py {{input}} {{output}}"
    volume = a_volume()[:-16] + b"face" * 4
    place(tmp_path, {}, volume=volume, defacing=Defacing(command=command))
    placed = tmp_path / f"bids/{NAME}.nii.gz"
    assert gzip.decompress(placed.read_bytes())[352:] == bytes(16)
    record = read_record(tmp_path / "work/sessions/sub-01/placed.json", PlacedSession)
    assert record.defaced == {NAME: command}
    assert record.files[f"{NAME}.nii.gz"] == sha256(placed)


# ------------------------------------------------------------------------------------------- what may leave


def a_stack(folder: Path, **changes: str) -> dict[str, Stack]:
    """The stack of a small series with these elements, as the index describes it."""
    series = synthetic.Series()
    for number in range(series.slices):
        dataset = series.dataset(number)
        for keyword, value in changes.items():
            setattr(dataset, keyword, value)
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        synthetic.save(dataset, folder / f"{number}.dcm")
    (stack,) = synthetic.indexed(folder).stacks
    return {"002-1": stack}


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ({}, {}),
        ({"institution": "keep"}, {"InstitutionName": "Quay", "StationName": "MR7"}),
        ({"device_serial": "keep"}, {"DeviceSerialNumber": "12345"}),
        ({"device_serial": "hash"}, {"DeviceSerialNumber": "16 digits"}),
    ],
)
def test_institution_and_device_leave_if_they_are_wanted(
    tmp_path: Path, rules: dict[str, str], left: dict[str, str]
) -> None:
    stacks = a_stack(
        tmp_path / "dicom", InstitutionName="Quay", StationName="MR7", DeviceSerialNumber="12345"
    )
    place(tmp_path, {}, stacks=stacks, rules=PrivacyRules(**rules))
    said = json.loads((tmp_path / f"bids/{NAME}.json").read_text())
    said.pop("SeriesDescription")
    if rules.get("device_serial") == "hash":
        hashed = said["DeviceSerialNumber"]
        assert (len(hashed), hashed != "12345", int(hashed, 16) >= 0) == (16, True, True)
        said["DeviceSerialNumber"] = "16 digits"
    assert said == left


def test_a_description_that_identifies_may_be_dropped(tmp_path: Path) -> None:
    assert {row.bids for row in FIELDS if row.policy is Policy.CHECKED} == set(DESCRIPTIONS)
    metadata: dict[str, Json] = {"ProtocolName": "T1 of Quux", "Comment": "fine"}
    place(tmp_path, metadata, rules=PrivacyRules(descriptions="dropped"))
    assert json.loads((tmp_path / f"bids/{NAME}.json").read_text()) == {
        "SeriesDescription": "t1",
        "Comment": "fine",
    }


@pytest.mark.parametrize(
    ("header", "refused"),
    [
        ({"BurnedInAnnotation": "YES"}, True),
        ({"BurnedInAnnotation": "NO"}, False),
        ({}, False),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, True),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "BurnedInAnnotation": "NO"}, False),
    ],
)
def test_text_in_pixels_is_refused_unless_allowed(
    tmp_path: Path, header: dict[str, str], *, refused: bool
) -> None:
    stacks = a_stack(tmp_path / "dicom", **header)
    if refused:
        with pytest.raises(DatasetError, match=r"series 2 has text in its pixels.*burned_in: allow"):
            place(tmp_path, {}, stacks=stacks)
        assert not (tmp_path / "bids").exists()
    place(tmp_path, {}, stacks=stacks, rules=PrivacyRules(burned_in="allow"))
    assert (tmp_path / f"bids/{NAME}.json").is_file()


def test_the_page_tells_of_every_field_that_leaves() -> None:
    page = (Path(__file__).parents[2] / "docs/privacy.md").read_text()
    rows = [
        line.split("|")[1:4] for line in page.splitlines() if line.startswith("| `") and line.count("|") == 4
    ]
    told = {
        field: (kind.strip(), why.strip()) for fields, kind, why in rows for field in FIELD.findall(fields)
    }
    kinds = {
        Policy.ALWAYS: "always",
        Policy.CHECKED: "checked",
        Policy.SITE: "`institution: keep`",
        Policy.DEVICE: "`device_serial: keep`",
    }
    assert {row.bids: kinds[row.policy] for row in FIELDS} == {
        row.bids: told.get(row.bids, ("missing", ""))[0] for row in FIELDS
    }
    assert all(why for _, why in told.values())


FIELD = re.compile(r"`(\w+)`")
