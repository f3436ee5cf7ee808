"""``convert`` into a folder that is there already, the names it gives, and what it says of failures."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from pacs2bids.__main__ import main
from pacs2bids.files import read_record, read_tsv, write_record
from pacs2bids.model import Manifest
from synthetic import Series, save, uid


def write(folder: Path, series: Series, **elements: object) -> None:
    for slice_ in range(series.slices):
        data = series.dataset(slice_)
        for keyword, value in elements.items():
            setattr(data, keyword, value)
        save(data, folder / f"{series.name}-{slice_}")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


ONE = {"001-1_one.nii.gz", "001-1_one.json", ".001-1_one.json", ".manifest.json"}
TWO = {"002-1_two.nii.gz", "002-1_two.json", ".002-1_two.json", ".manifest.json"}


def test_a_further_study_gives_each_a_folder_and_nothing_is_left_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write(source, Series(name="one", number=1))
    assert main(["convert", str(source), str(out)]) == 0
    assert files(out) == {*ONE, "leftovers.tsv"}
    first = (out / "001-1_one.nii.gz").stat()

    write(source, Series(name="two", number=2), StudyInstanceUID="1.2.3")
    assert main(["convert", str(source), str(out)]) == 0
    own = uid("study")
    both = {f"{own}/{name}" for name in ONE} | {f"1.2.3/{name}" for name in TWO} | {"leftovers.tsv"}
    assert files(out) == both
    moved = (out / own / "001-1_one.nii.gz").stat()
    assert (moved.st_ino, moved.st_mtime_ns) == (first.st_ino, first.st_mtime_ns), "not made again"
    assert own in capsys.readouterr().err, "where it went is told"

    for path in source.glob("two-*"):
        path.unlink()
    assert main(["convert", str(source), str(out)]) == 0
    assert files(out) == both, "a study keeps its folder"


def test_several_studies_do_not_go_beside_another_ones_volumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "first", Series(name="one", number=1))
    assert main(["convert", str(tmp_path / "first"), str(tmp_path / "out")]) == 0
    before = files(tmp_path / "out")
    for study in ("1.2.3", "1.2.4"):
        name = study.replace(".", "")
        write(tmp_path / "others", Series(name=name), StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1")
    assert main(["convert", str(tmp_path / "others"), str(tmp_path / "out")]) == 2
    assert "another study" in capsys.readouterr().err
    assert files(tmp_path / "out") == before


def test_the_volumes_of_stacks_that_are_no_more_go_with_their_records(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write(source, Series(name="one", number=1))
    write(source, Series(name="two", number=2))
    assert main(["convert", str(source), str(out)]) == 0
    for path in source.glob("two-*"):
        path.unlink()
    assert main(["convert", str(source), str(out)]) == 0
    assert files(out) == {*ONE, "leftovers.tsv"}


def test_a_run_that_was_killed_goes_on(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write(source, Series(name="one", number=1))
    write(source, Series(name="two", number=2))
    assert main(["convert", str(source), str(out)]) == 0
    whole = read_record(out / ".manifest.json", Manifest)
    first = (out / "001-1_one.nii.gz").stat().st_mtime_ns
    # as it is before the last step: the manifest knows no volume yet, the second one is not there
    write_record(out / ".manifest.json", replace(whole, volumes=()))
    for path in out.glob("*002-1*"):
        path.unlink()
    assert main(["convert", str(source), str(out)]) == 0
    assert read_record(out / ".manifest.json", Manifest) == whole
    assert (out / "001-1_one.nii.gz").stat().st_mtime_ns == first


@pytest.mark.parametrize("name", ["002-1_two.nii.gz", "002-1_two.json", "002-1_two.bval"])
def test_a_file_of_somebody_else_is_not_written_over_in_a_folder_of_ours(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write(source, Series(name="one", number=1))
    assert main(["convert", str(source), str(out)]) == 0
    (out / name).write_text("mine")
    write(source, Series(name="two", number=2))
    assert main(["convert", str(source), str(out)]) == 2
    assert name in capsys.readouterr().err
    assert (out / name).read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "options"), [("leftovers.tsv", []), ("second_opinion.tsv", ["--second-opinion"])]
)
def test_a_table_of_somebody_else_is_not_written_over(
    tmp_path: Path, name: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write(source, Series(name="one", number=1))
    out.mkdir()
    (out / name).write_text("dish\tday\nsoup\tMonday\n")
    assert main(["convert", str(source), str(out), *options]) == 2
    assert name in capsys.readouterr().err
    assert files(out) == {name}
    assert "soup" in (out / name).read_text()


def test_an_opinion_of_earlier_volumes_goes(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write(source, Series(name="one", number=1, slices=5, rows=8, columns=8))
    assert main(["convert", str(source), str(out), "--second-opinion"]) == 0
    assert len(read_tsv(out / "second_opinion.tsv")) == 1
    assert main(["convert", str(source), str(out)]) == 0
    assert not (out / "second_opinion.tsv").exists()
    (out / "second_opinion.tsv").write_text("mine\n")
    assert main(["convert", str(source), str(out)]) == 0
    assert (out / "second_opinion.tsv").read_text() == "mine\n"


def test_a_failure_begins_with_its_cause(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in"
    write(source, Series(name="one", number=1))
    write(source, Series(name="two", number=2))
    path = source / "two-1"
    path.write_bytes(path.read_bytes()[:-10])
    assert main(["convert", str(source), str(tmp_path / "out")]) == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "not all could be converted" in line)
    cause, numbers = line.index("two-1: is cut short"), line.index("1 volume of 6 instances")
    assert cause < numbers


@pytest.mark.parametrize(
    ("description", "kind", "name"),
    [
        ("DWI", ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], "001-1_DWI_ADC"),
        ("DWI_ADC", ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], "001-1_DWI_ADC"),
        ("DWI ColFA", ["DERIVED", "PRIMARY", "DIFFUSION", "FA"], "001-1_DWI_ColFA"),
        ("fatsat", ["DERIVED", "PRIMARY", "DIFFUSION", "FA"], "001-1_fatsat_FA"),
        ("DWI", ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"], "001-1_DWI"),
    ],
)
def test_a_map_is_named_by_what_it_shows(
    tmp_path: Path, description: str, kind: list[str], name: str
) -> None:
    write(tmp_path / "in", Series(number=1), SeriesDescription=description, ImageType=kind)
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    (volume,) = read_record(tmp_path / "out" / ".manifest.json", Manifest).volumes
    assert set(volume.files) == {f"{name}.nii.gz", f"{name}.json"}
