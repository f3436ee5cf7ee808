"""QIDO-RS against a server that answers by a script: paging, values, identity, and every way to fail."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from urllib3.util import connection

from pacs2bids.model import ConfigError, Pacs2BidsError, QueryError
from pacs2bids.pacs.web import Client
from pacs2bids.pacs.web_find import find, searched
from pacs2bids.peers import Courtesy, Secret, Tls, WebPeer
from peers.certificates import Authority
from peers.ports import free_port
from peers.web_server import Answer, Asked, json_answer, web_server

STUDY_UID, SERIES_UID = "0020000D", "0020000E"


def element(vr: str, *values: object) -> dict[str, object]:
    return {"vr": vr, "Value": list(values)}


def series(*uids: str) -> Answer:
    return json_answer([{SERIES_UID: element("UI", uid)} for uid in uids])


def paged(asked: Asked, uids: list[str], *, most: int = 10_000) -> Answer:
    query = dict(asked.query)
    offset = int(query["offset"])
    return series(*uids[offset : offset + min(most, int(query["limit"]))])


def ask(script: Callable[[Asked], Answer]) -> tuple[list[str], list[Asked]]:
    with web_server(script) as server:
        question = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": ""}
        found = find(WebPeer(name="web", url=server.url), "SERIES", question)
        assert all(one["StudyInstanceUID"] == "1.2" for one in found)
        return [one["SeriesInstanceUID"] for one in found], server.asked


def peer(url: str, **settings: object) -> WebPeer:
    return WebPeer(name="web", url=url, **settings)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ question, answer


def test_question_and_answer_have_the_shape_of_a_c_find() -> None:
    answer = {
        STUDY_UID: element("UI", "1.2"),
        "00100010": element("PN", {"Alphabetic": "Phantom^One", "Ideographic": "幻^影"}),
        "00080061": element("CS", "MR", None, "SR"),
        "00201208": element("IS", 12),
        "00101030": element("DS", 70.5),
        "00081030": {"vr": "LO"},
        "00081110": element("SQ", {STUDY_UID: element("UI", "9")}),
        "00081190": element("UR", "http://elsewhere/"),
    }
    pages = iter([json_answer([answer]), Answer(status=204)])
    question = {
        "StudyInstanceUID": "1.2\\1.3",
        "PatientName": "Ph*",
        "ModalitiesInStudy": "",
        "NumberOfStudyRelatedInstances": "",
        "PatientWeight": "",
        "StudyDescription": "",
        "ReferencedStudySequence": "",
        "AccessionNumber": "",
    }
    with web_server(lambda _: next(pages)) as server:
        found = find(peer(server.url), "STUDY", question)
    assert found == [
        {
            "StudyInstanceUID": "1.2",
            "PatientName": "Phantom^One=幻^影",
            "ModalitiesInStudy": "MR\\\\SR",
            "NumberOfStudyRelatedInstances": "12",
            "PatientWeight": "70.5",
            "StudyDescription": "",
        }
    ]
    assert server.asked[0].path == "/dicom-web/studies"
    assert server.asked[0].headers["Accept"] == "application/dicom+json"
    query = server.asked[0].query
    assert ("StudyInstanceUID", "1.2,1.3") in query
    assert ("PatientName", "Ph*") in query
    assert {value for key, value in query if key == "includefield"} == {
        key for key, value in question.items() if not value
    }


def test_unique_keys_above_stand_in_the_path() -> None:
    with web_server(lambda _: json_answer([])) as server:
        images = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.3", "SOPInstanceUID": ""}
        assert find(peer(server.url), "IMAGE", images) == []
        assert find(peer(server.url), "IMAGE", images | {"SeriesInstanceUID": "1.2*"}) == []
    assert [one.path for one in server.asked] == [
        "/dicom-web/studies/1.2/series/1.2.3/instances",
        "/dicom-web/studies/1.2/instances",
    ]


def test_a_keyword_that_is_none() -> None:
    with pytest.raises(QueryError, match="'PatientShoe' is no DICOM keyword"):
        find(peer("http://127.0.0.1:1"), "STUDY", {"PatientShoe": ""})


# ---------------------------------------------------------------------------------------------- pages

MANY = [f"1.2.{number}" for number in range(2345)]


def test_all_pages_are_asked_for() -> None:
    found, asked = ask(lambda one: paged(one, MANY))
    assert found == MANY
    assert [dict(one.query)["offset"] for one in asked] == ["0", "1000", "2000", "2345"]


def test_a_server_with_a_smaller_limit_of_its_own() -> None:
    found, _ = ask(lambda one: paged(one, MANY[:60], most=25))
    assert found == MANY[:60]


def test_a_server_that_refuses_large_pages() -> None:
    def script(asked: Asked) -> Answer:
        return Answer(status=400) if int(dict(asked.query)["limit"]) > 200 else paged(asked, MANY[:450])

    assert ask(script)[0] == MANY[:450]


def test_a_server_that_ignores_the_offset_is_not_asked_for_ever() -> None:
    found, asked = ask(lambda _: series(*MANY[:30]))
    assert found == MANY[:30]
    assert len(asked) == 2


def test_a_server_that_says_404_behind_the_last() -> None:
    found, _ = ask(lambda one: paged(one, MANY[:3]) if ("offset", "0") in one.query else Answer(status=404))
    assert found == MANY[:3]


def test_an_unknown_study_told_as_404_is_no_error() -> None:
    found, asked = ask(lambda one: Answer(status=404 if one.path.endswith("/series") else 204))
    assert found == []
    assert asked[-1].path == "/dicom-web/studies"


def test_a_root_that_is_none_is_an_error() -> None:
    with pytest.raises(QueryError, match=r"no such thing \(HTTP 404\)\. .*DICOMweb root"):
        ask(lambda _: Answer(status=404))


# ---------------------------------------------------------------------------------------------- identity


def fails(script: Callable[[Asked], Answer], **settings: object) -> tuple[str, list[Asked]]:
    with web_server(script) as server, pytest.raises(Pacs2BidsError) as error:
        find(peer(server.url, **settings), "STUDY", {"PatientName": "Phantom*"})
    assert "Phantom" not in str(error.value)
    return str(error.value), server.asked


def test_a_token_that_was_renewed_in_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old-one\n")

    def script(asked: Asked) -> Answer:
        if asked.headers["Authorization"] == "Bearer old-one":
            file.write_text("new-one\n# a second line says nothing\n")
            return Answer(status=401, length=0)
        return json_answer([])

    with web_server(script) as server:
        assert find(peer(server.url, token=Secret(file=file)), "STUDY", {"StudyInstanceUID": ""}) == []
    assert [one.headers["Authorization"] for one in server.asked] == ["Bearer old-one", "Bearer new-one"]


def test_an_expired_token_is_explained_and_tried_once(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("sesame")
    told, asked = fails(lambda _: Answer(status=401), token=Secret(file=file))
    assert f"may have expired (HTTP 401). Renew it in the file {file}" in told
    assert "sesame" not in told
    assert len(asked) == 1


def test_a_password_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_PASSWORD", "open:sésame")
    told, asked = fails(lambda _: Answer(status=401), user="lab", password=Secret(env="WEB_PASSWORD"))
    assert "Check user, and the environment variable WEB_PASSWORD" in told
    assert "sésame" not in told
    # base64 by hand of "lab:open:sésame" in UTF-8
    assert asked[0].headers["Authorization"] == "Basic bGFiOm9wZW46c8Opc2FtZQ=="


def test_no_identity_at_all() -> None:
    told, asked = fails(lambda _: Answer(status=401))
    assert "Give token, or user and password, in config.yaml" in told
    assert "Authorization" not in asked[0].headers


def test_secrets_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEB_TOKEN", raising=False)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "header").write_text("Bearer abc\n")
    for secret, what in (
        (Secret(file=tmp_path / "none"), "none cannot be read: No such file"),
        (Secret(file=tmp_path / "empty"), "the first line of the file"),
        (Secret(file=tmp_path / "header"), "holds characters that no secret has"),
        (Secret(env="WEB_TOKEN"), "the environment variable WEB_TOKEN is not set"),
    ):
        with pytest.raises(ConfigError, match=what):
            find(peer("http://127.0.0.1:1", token=secret), "STUDY", {"StudyInstanceUID": ""})


def test_exposed_secrets_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "token"
    file.write_text("sesame")
    file.chmod(0o600)
    with caplog.at_level(logging.WARNING):
        Client(peer("http://127.0.0.1:1", token=Secret(file=file)))
        Client(peer("https://pacs.example/dicom-web", token=Secret(file=file)))
        assert not caplog.messages
        file.chmod(0o644)
        Client(peer("http://pacs.example/dicom-web", token=Secret(file=file)))
    readable, unencrypted = caplog.messages
    assert f"{file} can be read by everybody" in readable
    assert "travels unencrypted; use https" in unencrypted
    assert "sesame" not in caplog.text


def test_a_secret_is_not_taken_to_another_host(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("sesame")
    with web_server(lambda _: json_answer([])) as other:
        elsewhere = Answer(status=302, headers={"Location": f"{other.url}/login?who=me"})
        told, _ = fails(lambda _: elsewhere, token=Secret(file=tmp_path / "token"))
        assert f"sends us on to {other.url.removesuffix('/dicom-web')}" in told
        assert not other.asked


def test_a_redirect_within_the_host_is_followed() -> None:
    def script(asked: Asked) -> Answer:
        if asked.path.startswith("/dicom-web"):
            return Answer(status=308, headers={"Location": "/rs/studies?limit=1"}, length=0)
        return json_answer([])

    with web_server(script) as server:
        assert find(peer(server.url), "STUDY", {"StudyInstanceUID": ""}) == []
    assert server.asked[-1].path == "/rs/studies"


def test_redirects_without_end() -> None:
    told, asked = fails(lambda one: Answer(status=307, headers={"Location": one.path}, length=0))
    assert "HTTP 307" in told
    assert len(asked) == 6


# ---------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (Answer(status=403), "does not allow this (HTTP 403)"),
        (Answer(status=500), "the server failed (HTTP 500)"),
        (Answer(status=400), "does not take the question (HTTP 400)"),
        (
            Answer(headers={"Content-Type": "text/html; charset=utf-8"}, body=[b"<html>Phantom"]),
            "is no DICOM JSON (it calls itself text/html)",
        ),
        (Answer(body=[b"[{"], length=100), "the answer was broken off"),
    ],
)
def test_answers_that_are_none(answer: Answer, what: str) -> None:
    assert what in fails(lambda _: answer)[0]


def test_a_server_that_is_not_there() -> None:
    url = f"http://127.0.0.1:{free_port()}/dicom-web"
    with pytest.raises(QueryError, match="no connection: Connection refused"):
        find(peer(url), "STUDY", {"StudyInstanceUID": ""})


@pytest.mark.parametrize("url", ["https://pacs.example:port/rs", "http:///rs", "https://[1.2.3.4/rs"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match="url is no address of a server"):
        find(peer(url), "STUDY", {"StudyInstanceUID": ""})


def test_a_host_that_speaks_no_tls() -> None:
    with web_server(lambda _: json_answer([])) as server, pytest.raises(QueryError) as error:
        find(peer(server.url.replace("http:", "https:")), "STUDY", {"StudyInstanceUID": ""})
    assert "no secure connection" in str(error.value)


def https(house: Authority, *, wants: bool = False, bears: str = "IP:127.0.0.1") -> ssl.SSLContext:
    """What a server goes by that shows a certificate of the house; ``wants``: one of ours, too."""
    tls = house.tls("SERVER", bears=bears)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls.ca)
    context.load_cert_chain(str(tls.certificate), str(tls.key))
    context.verify_mode = ssl.CERT_REQUIRED if wants else ssl.CERT_NONE
    return context


def test_certificates_of_both_sides_are_shown_and_checked(house: Authority) -> None:
    with web_server(lambda _: json_answer([]), https(house, wants=True)) as server:
        assert find(peer(server.url, tls=house.tls("US")), "STUDY", {"StudyInstanceUID": ""}) == []


def test_a_certificate_may_bear_another_name_that_is_expected(house: Authority) -> None:
    with web_server(lambda _: json_answer([]), https(house, bears="DNS:pacs.example")) as server:
        tls = Tls(ca=house.ca, server_name="pacs.example")
        assert find(peer(server.url, tls=tls), "STUDY", {"StudyInstanceUID": ""}) == []


@pytest.mark.parametrize(
    ("tls", "wants", "bears", "told"),
    [
        (lambda _, stranger: Tls(ca=stranger.ca), False, "IP:127.0.0.1", "was issued by none of tls.ca"),
        (lambda _, __: Tls(), False, "IP:127.0.0.1", "was issued by none of tls.ca"),
        (
            lambda house, _: Tls(ca=house.ca),
            False,
            "DNS:pacs.example",
            "made out to pacs.example, not to 127",
        ),
        (lambda house, _: Tls(ca=house.ca), True, "IP:127.0.0.1", "it wants a certificate of ours"),
    ],
)
def test_no_server_is_asked_that_cannot_be_trusted(
    request: pytest.FixtureRequest,
    tls: Callable[[Authority, Authority], Tls],
    wants: bool,
    bears: str,
    told: str,
) -> None:
    house, stranger = request.getfixturevalue("house"), request.getfixturevalue("stranger")
    with web_server(lambda _: json_answer([]), https(house, wants=wants, bears=bears)) as server:
        one = peer(server.url, tls=tls(house, stranger))
        with pytest.raises(QueryError) as error:
            find(one, "STUDY", {"StudyInstanceUID": ""})
        assert not server.asked
    assert "no secure connection: it" in str(error.value)
    assert told in str(error.value)


def test_a_busy_server_is_given_the_time_it_asks_for() -> None:
    answers = iter(
        [
            Answer(status=429, headers={"Retry-After": "7"}, length=0),
            Answer(status=503, length=0),
            Answer(status=503, headers={"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, length=0),
            json_answer([]),
        ]
    )
    pauses_s: list[float] = []
    with web_server(lambda _: next(answers)) as server:
        client = Client(peer(server.url), sleep=pauses_s.append)
        assert searched(client, "STUDY", {"StudyInstanceUID": ""}) == []
    assert pauses_s == [7.0, 2.0, 0.0]


def test_a_server_that_stays_busy() -> None:
    pauses_s: list[float] = []
    with web_server(lambda _: Answer(status=503, length=0)) as server:
        client = Client(peer(server.url, courtesy=Courtesy(retries=2)), sleep=pauses_s.append)
        with pytest.raises(QueryError, match=r"is busy \(HTTP 503\)"):
            searched(client, "STUDY", {"StudyInstanceUID": ""})
    assert pauses_s == [1.0, 2.0]


def test_a_server_that_asks_for_too_much_time() -> None:
    told, asked = fails(lambda _: Answer(status=429, headers={"Retry-After": "86400"}))
    assert "asks for a pause of 86400 s" in told
    assert len(asked) == 1


def test_a_silent_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says first may come as late as it likes; then nothing comes."""
    told, connections, connect = threading.Event(), list[socket.socket](), connection.create_connection

    def connected(*words: Any, **settings: Any) -> socket.socket:
        connections.append(connect(*words, **settings))
        return connections[-1]

    def answered(client: Client, target: str, accept: str) -> urllib3.BaseHTTPResponse:
        response = answer(client, target, accept)
        connections[-1].settimeout(0.2)
        return response

    def late() -> Iterator[bytes]:
        assert told.wait(300)
        yield b"[]"

    answer = Client._answered
    monkeypatch.setattr(connection, "create_connection", connected)
    monkeypatch.setattr(Client, "_answered", answered)
    said, _ = fails(lambda _: Answer(body=late(), length=2))
    told.set()
    assert "the answer was broken off (ReadTimeoutError)" in said
