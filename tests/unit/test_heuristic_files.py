"""Which files decide a plan: the heuristic, what it imports from its folder, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from pacs2bids.builtin import heuristic_file
from pacs2bids.dialects import ask
from pacs2bids.dialects.imports import files_of
from pacs2bids.model import ConfigError, StudyIndex


def folder_of(folder: Path, **texts: str) -> Path:
    """Files by their stems, "__" for a slash; returns the heuristic."""
    for stem, text in texts.items():
        path = folder / f"{stem.replace('__', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder / "mine.py"


def found(heuristic: Path) -> list[str]:
    first, *others = files_of(heuristic)
    assert first == heuristic
    return [path.relative_to(heuristic.parent).as_posix() for path in others]


@pytest.mark.parametrize(
    "text",
    [
        "import common",
        "import os, common as c",
        "from common import NAMES",
        "from common import *",
        "import common.deeper",
        "def infotodict(seqinfo):\n    from common import NAMES\n    return {}",
        "try:\n    import common\nexcept ImportError:\n    pass",
    ],
)
def test_an_imported_sibling_and_no_other(tmp_path: Path, text: str) -> None:
    assert found(folder_of(tmp_path, mine=text, common="", other="import common")) == ["common.py"]


def test_imports_of_imports_in_a_circle(tmp_path: Path) -> None:
    mine = folder_of(tmp_path, mine="import b", a="import mine", b="import c", c="import b, a", d="")
    assert found(mine) == ["a.py", "b.py", "c.py"]


def test_a_package_counts_whole(tmp_path: Path) -> None:
    mine = folder_of(tmp_path, mine="from lab.names import X", lab__names="import a", lab__more="", a="")
    assert found(mine) == []  # no __init__.py: nothing that Python prefers to a folder of data of this name
    (tmp_path / "lab" / "__init__.py").touch()
    assert found(mine) == ["a.py", "lab/__init__.py", "lab/more.py", "lab/names.py"]


@pytest.mark.parametrize("text", ["", "import os, numpy", "from . import common", "# import common", "def:"])
def test_nothing_else(tmp_path: Path, text: str) -> None:
    assert found(folder_of(tmp_path, mine=text, common="")) == []


def test_what_cannot_be_read_is_an_error_elsewhere(tmp_path: Path) -> None:
    assert files_of(tmp_path / "none.py") == [tmp_path / "none.py"]
    assert found(folder_of(tmp_path, mine="import common", common="def:")) == ["common.py"]


def test_rules_import_nothing(tmp_path: Path) -> None:
    (tmp_path / "rules.py").touch()
    (tmp_path / "mine.yaml").write_text("rules:\n  - {match: anything, skip: x}\n")
    assert files_of(tmp_path / "mine.yaml") == [tmp_path / "mine.yaml"]


# ------------------------------------------------------------------------------------------- built-ins


@pytest.fixture
def with_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of built-ins that holds "plain"; its heuristic names nothing."""
    monkeypatch.setattr("pacs2bids.builtin.FOLDER", tmp_path)
    (tmp_path / "plain.py").write_text("def infotodict(seqinfo):\n    return {}\n")
    return tmp_path


def test_a_bare_word_is_a_builtin_and_anything_else_a_file(with_names: Path) -> None:
    assert heuristic_file(Path("plain")) == with_names / "plain.py"
    for file in ("plain.py", "a/plain", "./a/plain.py", "/plain"):
        assert heuristic_file(Path(file)) == Path(file)
    index = StudyIndex(
        engine_version="", study_instance_uid="1.2", instances=0, series=(), stacks=(), leftovers=()
    )
    assert ask(Path("plain"), [index], subject="01", session="").named == ()
    assert files_of(Path("plain")) == []


@pytest.mark.usefixtures("with_names")
def test_an_unknown_builtin_says_which_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no built-in heuristic is called 'plian'.*There is: plain"):
        heuristic_file(Path("plian"))
