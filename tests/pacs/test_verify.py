"""``pacs2bids verify``: what it finds on the disk and at the source, and that a pull mends it."""

from __future__ import annotations

import re
from pathlib import Path

import pydicom
import pytest
from msgspec.structs import replace

from pacs2bids.__main__ import main
from pacs2bids.files import read_record, sha256, write_record
from pacs2bids.model import Receipt
from pacs2bids.pacs.pull import pull_from_pacs
from pacs2bids.pacs.sources import pull_from_folder
from pacs2bids.pacs.web_pull import pull_from_web
from pacs2bids.peers import FolderSource, WebPeer
from peers.embedded import QUICK, embedded
from peers.instances import STUDY, write_study
from peers.ports import free_port
from peers.receipts import read_fitting
from peers.web_server import web_pacs, web_server


def config_of(folder: Path, source: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(f"sources: {{main: {source}}}\n")
    return path


def of_pacs(port: int) -> str:
    return f"{{kind: pacs, host: 127.0.0.1, port: {port}, ae_title: PACS, courtesy: {{retries: 0}}}}"


@pytest.fixture
def pulled(tmp_path: Path) -> Path:
    """The folder of a study of ten instances, pulled from a folder that is gone by now."""
    source = tmp_path / "source"
    write_study(source)
    out = tmp_path / "work" / "studies" / STUDY
    pull_from_folder(FolderSource(name="main", path=source), STUDY, out)
    for path in source.rglob("*.dcm"):
        path.unlink()
    return out


def state_of(folder: Path) -> dict[Path, tuple[int, str]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, sha256(path)) for path in files}


def test_proven_by_folder_and_by_uid(
    pulled: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state_of(pulled)
    assert main(["verify", str(pulled)]) == 0
    said, errors = capsys.readouterr()
    day = read_record(pulled / "receipt.json", Receipt).finished[:10]
    assert re.fullmatch(f"study {STUDY}: 10 instances, [1-9][0-9]* kB, as received on {day}\n", said)
    assert errors == ""
    assert main(["verify", STUDY, "--workdir", str(pulled.parents[1])]) == 0
    monkeypatch.chdir(pulled.parents[2])
    assert main(["verify", STUDY]) == 0
    assert state_of(pulled) == before
    Path("work").rename("elsewhere")
    assert main(["verify", STUDY]) == 2
    config_of(Path(), "{kind: folder, path: source}")
    assert main(["verify", STUDY]) == 2  # a configuration that is not whole
    with Path("config.yaml").open("a") as config:
        config.write("studies: {table: t.tsv}\nheuristic: h.py\ndataset: {name: Any}\nworkdir: elsewhere\n")
    assert main(["verify", STUDY]) == 0
    assert main(["verify", "--all"]) == 0


def test_everything_that_does_not_hold_is_named(pulled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two, three, *_ = sorted((pulled / "dicom").glob("*/*.dcm"))
    one.unlink()
    content = two.read_bytes()
    two.write_bytes(content[:-1] + b"!")
    three.write_bytes(three.read_bytes()[:-2])
    (pulled / "dicom" / "notes.txt").write_text("mine")
    (pulled / "dicom" / f"{STUDY}.1" / ".a.dcm.0.part").write_text("half")
    before = state_of(pulled)
    assert main(["verify", str(pulled), "--verbose"]) == 1
    said, errors = capsys.readouterr()
    assert said == ""
    assert f"1 instance missing from the disk: {one.stem}" in errors
    assert f"2 instances not what came: {two.stem}, {three.stem}" in errors
    assert "1 file in dicom/ that never came: notes.txt" in errors
    assert f"1 file left by a pull that was killed: {STUDY}.1/.a.dcm.0.part" in errors
    assert f"`snakemake --forcerun {pulled}/receipt.json`" in errors
    assert "Look at them and take them away" in errors
    assert state_of(pulled) == before


def test_a_pull_mends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As Snakemake does it: the receipt is removed before the job runs."""
    write_study(tmp_path / "pacs")
    out = tmp_path / STUDY
    with embedded(tmp_path / "pacs") as peer:
        first = pull_from_pacs(peer, STUDY, out, patience=QUICK)
        one, two, *_ = sorted((out / "dicom").glob("*/*.dcm"))
        one.unlink()
        # well-formed, and of the same length: only its digest tells
        two.write_bytes(two.read_bytes().replace(b"1/2", b"1/9"))
        (one.parent / ".a.dcm.0.part").write_text("half")
        assert main(["verify", str(out)]) == 1
        (out / "receipt.json").unlink()
        assert main(["verify", str(out)]) == 1
        assert "has no receipt" in capsys.readouterr().err
        again = pull_from_pacs(peer, STUDY, out, patience=QUICK)
    assert again.received == first.received
    assert sum(transfer.came or 0 for transfer in again.transfers) == 2
    assert main(["verify", str(out)]) == 0
    assert len(list((out / "quarantine").iterdir())) == 1


def test_receipt_that_contradicts_itself(pulled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    receipt = read_record(pulled / "receipt.json", Receipt)
    (series, uids), *_ = receipt.announced.items()
    more = {**receipt.announced, series: (*uids, f"{series}.99")}
    write_record(pulled / "receipt.json", replace(receipt, announced=more, counted={series: 9}))
    assert main(["verify", str(pulled)]) == 1
    errors = capsys.readouterr().err
    assert f"1 instance announced that did not come: {series}.99" in errors
    assert f"1 series short of the count of the source: {series}" in errors


def test_study_that_never_came_whole(pulled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    receipt = read_record(pulled / "receipt.json", Receipt)
    (pulled / "receipt.json").unlink()
    write_record(pulled / "receipt.incomplete.json", replace(receipt, complete=False, missing=("1.2", "1.3")))
    assert main(["verify", str(pulled)]) == 1
    assert "never came whole: 2 instances missing" in capsys.readouterr().err


def test_all_studies_one_line_each(pulled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workdir = pulled.parents[1]
    source = pulled.parents[2] / "other"
    write_study(source, study="1.2.3")
    pull_from_folder(FolderSource(name="main", path=source), "1.2.3", workdir / "studies" / "1.2.3")
    assert main(["verify", "--all", "--workdir", str(workdir)]) == 0
    one, two, last = capsys.readouterr().out.splitlines()
    assert one.startswith("proven: study 1.2.3: 10 instances")
    assert two.startswith(f"proven: study {STUDY}: 10 instances")
    assert last == "2 studies proven"
    next((workdir / "studies" / "1.2.3" / "dicom").glob("*/*.dcm")).unlink()
    assert main(["verify", "--all", "--workdir", str(workdir)]) == 1
    said, errors = capsys.readouterr()
    one, two = said.splitlines()
    assert one.startswith("NOT PROVEN: study 1.2.3: 1 instance missing")
    assert two.startswith("proven: ")
    assert "1 of 2 studies not proven" in errors


@pytest.mark.parametrize("words", [[], ["1.2", "--all"], ["1.2.77"], ["--all", "--workdir", "nowhere"]])
def test_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["verify", *words]) == 2


# ------------------------------------------------------------------------------------------ the source


def test_against_a_pacs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, *_ = write_study(tmp_path / "pacs")
    out = tmp_path / STUDY
    words = ["verify", str(out), "--pacs", "--config"]
    with embedded(tmp_path / "pacs") as peer:
        pull_from_pacs(peer, STUDY, out, patience=QUICK)
        config = str(config_of(tmp_path, of_pacs(peer.port)))
        assert main([*words, config]) == 0
        assert capsys.readouterr().out.endswith(", and main has the same\n")
    dataset = pydicom.dcmread(first)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{STUDY}.1.99"
    dataset.save_as(first)  # one deleted, one new
    with embedded(tmp_path / "pacs") as peer:
        assert main([*words, str(config_of(tmp_path, of_pacs(peer.port)))]) == 1
        errors = capsys.readouterr().err
        assert f"1 instance at the source that did not come: {STUDY}.1.99" in errors
        assert f"1 instance gone from the source: {STUDY}.1.1." in errors
        assert main(words[:2]) == 0  # what came is what the receipt says
        pull_from_pacs(peer, STUDY, out, patience=QUICK)
        assert main([*words, str(tmp_path / "config.yaml")]) == 0
    capsys.readouterr()
    assert main([*words, str(config_of(tmp_path, of_pacs(free_port())))]) == 1
    assert "no connection" in capsys.readouterr().err


def test_against_a_folder(pulled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = pulled.parents[2]
    config = str(config_of(root, "{kind: folder, path: source}"))
    words = ["verify", str(pulled), "--pacs", "--config", config]
    write_study(root / "source")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert main(words) == 0
        write_study(root / "source" / "more", series=3)
        assert main(words) == 1
        assert "5 instances at the source that did not come" in capsys.readouterr().err
        config_of(root, "{kind: folder, path: work}")
        write_record(
            pulled / "receipt.json", replace(read_record(pulled / "receipt.json", Receipt), source="x")
        )
        assert main(words) == 2
        assert "no source is called 'x'" in capsys.readouterr().err


def test_against_a_dicomweb_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / STUDY
    with web_server(web_pacs(write_study(tmp_path / "pacs"))) as server:
        pull_from_web(WebPeer(name="main", url=server.url), STUDY, out, patience=QUICK)
        assert {one.way for one in read_fitting(out / "receipt.json").transfers} == {"wado"}
        config = str(config_of(tmp_path, f"{{kind: dicomweb, url: '{server.url}'}}"))
        assert main(["verify", str(out), "--pacs", "--config", config]) == 0
        assert capsys.readouterr().out.endswith(", and main has the same\n")
