"""The guides say what is so: messages that they quote are ours, ours are explained; what a PACS is told."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from messages import HOLE, Raised, codes, raised, texts
from pages import MARKDOWN, ROOT, words_in_code
from pydicom.uid import UID
from pynetdicom.presentation import build_context

from pacs2bids import sidecar_fields
from pacs2bids.model import Pacs2BidsError
from pacs2bids.pacs import find, get, heads, move, receiver, storing
from pacs2bids.peers import PacsPeer

TROUBLES = ROOT / "docs/troubleshooting.md"
ADMINISTRATOR = ROOT / "docs/pacs_administrator.md"
WORKFLOW = [ROOT / "Snakefile", *sorted((ROOT / "workflow/rules").glob("*.smk"))]
# of others, as ping passes them on: PS3.8 table 9-21 as pynetdicom words it, and the system's own words
OTHERS = "Calling AE title not recognised\0Called AE title not recognised\0Connection refused"


def rows(page: Path) -> list[list[list[str]]]:
    """What stands between backticks in each cell of each row of the page's tables, heads left out."""
    found: list[list[list[str]]] = []
    for token in MARKDOWN.parse(page.read_text(encoding="utf-8")):
        if token.type == "tr_open":
            found.append([])
        elif token.type == "td_open":
            found[-1].append([])
        elif token.type == "inline" and found and found[-1]:
            found[-1][-1] += [
                one.content.strip() for one in token.children or () if one.type == "code_inline"
            ]
        elif token.type == "table_close":
            found.append([])  # what follows is no cell
    return [row for row in found if len(row) > 1]


def quoted() -> list[str]:
    """The messages that the page explains."""
    return [quote for row in rows(TROUBLES) for quote in row[0] if not quote.endswith("/")]


def unknown(quotes: list[str]) -> list[str]:
    """Those that nobody says."""
    said = texts() + "\0".join(path.read_text() for path in WORKFLOW) + OTHERS
    pieces = {quote: [piece for part in quote.split(HOLE) for piece in part.split(": ")] for quote in quotes}
    return [quote for quote, parts in pieces.items() if any(part.strip() not in said for part in parts)]


def explains(quote: str, error: Raised) -> bool:
    """Whether a quote is of this error: its pieces in their order in one of the texts that it may be."""
    pattern = ".*".join(re.escape(piece.strip()) for piece in quote.split(HOLE))
    return any(re.search(pattern, text, re.DOTALL) for text in error.what)


def is_said(text: str) -> bool:
    """Whether it has words of its own; else all of it is filled in."""
    return len(max(text.split(HOLE), key=len).strip()) > 7


# -------------------------------------------------------------------------------------------- troubleshooting


def test_every_message_on_the_page_is_one_of_ours() -> None:
    assert len(quoted()) > 100
    assert unknown(quoted()) == []
    short = [quote for quote in quoted() if len(max(quote.split(HOLE), key=len).strip()) < 5]
    assert short == [], "too short to tell anything"


def test_a_message_that_nobody_says_would_be_seen() -> None:
    assert unknown(["the PACS is on fire", "no word and no data for weeks"]) == [
        "the PACS is on fire",
        "no word and no data for weeks",
    ]


def test_every_code_of_a_finding_is_explained() -> None:
    assert {"EMPTY_SESSION", "ROW_WITHOUT_SESSION", "SERIES_SET_ASIDE", "SFORM"} <= codes()
    assert codes() - set(quoted()) == set()


def test_every_kind_of_error_is_explained() -> None:
    errors = list(raised())
    explained = {one.kind for one in errors if any(explains(quote, one) for quote in quoted())}
    assert {one.kind for one in errors} - explained == set()
    assert Pacs2BidsError.__name__ in explained


def test_what_does_not_say_what_to_do_is_explained() -> None:
    """An error with a hint is its own explanation; one without stands on the page."""
    alone = [one for one in raised() if not one.has_hint and any(map(is_said, one.what))]
    assert len(alone) > 30
    missing = [
        f"{one.where}: {one.kind}: {' or '.join(one.what)}"
        for one in alone
        if not any(explains(quote, one) for quote in quoted())
    ]
    assert missing == []


# ----------------------------------------------------------------------------------- for the PACS's staff


def test_what_ping_is_said_to_say_it_says() -> None:
    (table,) = [
        part for part in ADMINISTRATOR.read_text().split("\n## ") if part.startswith("What `pacs2bids ping`")
    ]
    quotes = [
        quote
        for line in table.splitlines()
        if line.startswith("| ") and line.count("|") == 5
        for quote in re.findall(r"`([^`]+)`", line.split("|")[2])
    ]
    assert len(quotes) > 25
    assert unknown(quotes) == []


@pytest.fixture(scope="module")
def statement() -> str:
    """Our own conformance statement."""
    return ADMINISTRATOR.read_text().partition("## Our own conformance statement")[2]


def uids(text: str) -> list[str]:
    return re.findall(r"`(1\.2\.840\.10008[0-9.]+)`", text)


def test_services_that_we_use(statement: str) -> None:
    services = [
        receiver._VERIFICATION,
        find.StudyRootQueryRetrieveInformationModelFind,
        move._MODEL,
        get._MODEL,
    ]
    table = statement.partition("**As SCU**")[2].partition("\n- ")[0]
    assert uids(table) == services
    assert all(UID(uid).name.replace(" SOP Class", "").partition(" -")[0] in table for uid in services)
    # and the same stand where it is said what to look for
    assert set(services[1:]) <= set(uids(ADMINISTRATOR.read_text().partition("## A letter")[0]))


def test_transfer_syntaxes(statement: str) -> None:
    of_queries = statement.partition("- Transfer syntaxes of these")[2].partition("\n- ")[0]
    assert uids(of_queries) == list(
        build_context(find.StudyRootQueryRetrieveInformationModelFind).transfer_syntax
    )
    of_gets = statement.partition("proposed for C-GET**")[2].partition("**Implementation**")[0]
    assert uids(of_gets) == list(get._SYNTAXES)


def test_numbers_and_titles(statement: str) -> None:
    told = " ".join(statement.split())
    peer = PacsPeer(name="", host="", port=104, ae_title="")
    (slot,) = peer.slots
    patience = inspect.signature(find.find).parameters["response_timeout_s"].default
    for truth in (
        f"by default `{peer.calling_ae_title}`",
        f"class UID `{heads.IMPLEMENTATION_CLASS_UID}`, version name `{heads.IMPLEMENTATION_VERSION_NAME}`",
        f"Up to {receiver._MOST_AT_ONCE} associations at a time, PDUs up to {receiver._LARGEST_PDU:,} bytes",
        f"{find._NEGOTIATION_TIMEOUT_S:.0f} s for an association, {patience:.0f} s for a query",
        f"`{storing.SUCCESS:04X}` taken; `{storing.NOT_AUTHORIZED:04X}` not of the study",
        f"`{storing.OUT_OF_RESOURCES:04X}` the disk is full",
        f"`{storing.DOES_NOT_MATCH:04X}` the data set contradicts",
        f"`{storing.CANNOT_UNDERSTAND:04X}` it cannot be read",
    ):
        assert truth in told
    letter = ADMINISTRATOR.read_text().partition("## A letter")[2]
    assert f"AE title                        {slot.ae_title} " in letter
    assert f"port where we receive           {slot.port} " in letter


# ---------------------------------------------------------------------------------------------- extending


def test_names_on_the_page_for_developers_are_in_the_sources() -> None:
    files = [*ROOT.glob("workflow/**/*.py"), *ROOT.glob("workflow/**/*.smk"), *ROOT.glob("tests/**/*.py")]
    known = set(re.findall(r"\w+", "\n".join(path.read_text(encoding="utf-8") for path in files)))
    page = [word for word in words_in_code(ROOT / "docs/extending.md") if "/" not in word and " " not in word]
    assert len(page) > 40
    wrong = [word for word in page if not set(re.findall(r"[A-Za-z_]\w+", word)) - {"md", "yml"} <= known]
    assert [word for word in wrong if not list(ROOT.glob(word)) and not list(ROOT.glob(f"docs/{word}"))] == []


def test_the_row_of_a_field_is_one() -> None:
    (example,) = re.findall(
        r"```python\n(Field\(.*?)```", (ROOT / "docs/extending.md").read_text(), re.DOTALL
    )
    row = eval(example, vars(sidecar_fields))
    assert row.bids in {field.bids for field in sidecar_fields.FIELDS}


def test_the_picture_of_the_floors_has_every_module() -> None:
    layers = (ROOT / ".importlinter").read_text().partition("layers =")[2]
    told = {word.rstrip("/") for word in words_in_code(ROOT / "CONTRIBUTING.md")}
    assert set(re.findall(r"\w+", layers)) - told == set()
