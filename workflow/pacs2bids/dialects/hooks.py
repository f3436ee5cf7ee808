"""heudiconv's hooks of a heuristic, besides ``infotodict``.

``filter_files``, ``filter_dicom`` and ``custom_seqinfo`` are called as heudiconv calls them, on the study's
DICOM files; ``grouping`` has a module of its own. ``infotoids`` is asked, but the studies table decides. What
cannot be done here is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pacs2bids.dialects import grouping
from pacs2bids.dialects.blanking import IN_HEADERS
from pacs2bids.dialects.seqinfos import Shown, with_files
from pacs2bids.dialects.series_files import Filtered, SeriesFiles, files_of_all, unanswered
from pacs2bids.dialects.standins import SeqInfo
from pacs2bids.dialects.user_code import FailedError, UserCode
from pacs2bids.model import HeuristicError, Json, StudyIndex
from pacs2bids.session import IntendedForOptions

if TYPE_CHECKING:
    import pydicom

# heudiconv 1.5, documentation, "POPULATE_INTENDED_FOR_OPTS"
MATCHING = (
    "Shims",
    "ImagingVolume",
    "ModalityAcquisitionLabel",
    "CustomAcquisitionLabel",
    "PlainAcquisitionLabel",
    "Force",
)
CRITERIA = ("First", "Closest")

SUFFIX = ".json"  # of sidecars; heudiconv's ``scaninfo_suffix`` may be another

# of dataset_description.json, what one person or one lab says of all its datasets (BIDS, "Dataset
# description"); the form of each. What tells one dataset from another, stands in the configuration
DEFAULT_FIELDS: dict[str, type] = {
    "License": str,
    "Authors": list[str],
    "Acknowledgements": str,
    "HowToAcknowledge": str,
    "Funding": list[str],
    "EthicsApprovals": list[str],
    "ReferencesAndLinks": list[str],
    "DatasetDOI": str,
}


def filtered(
    code: UserCode, shown: Sequence[Shown], indexes: Sequence[StudyIndex], folders: Sequence[Path]
) -> Filtered:
    """Ask ``filter_files``, ``filter_dicom`` and ``custom_seqinfo`` of each series; or ``grouping``.

    ``folders``: where the DICOM files of each index lie. Raises HeuristicError if they are needed and gone,
    and for a mistake in the file.
    """
    files = files_of_all(code.where, shown, indexes, folders)
    if grouping.is_function(code):
        return grouping.grouped(code, shown, files)
    result = Filtered(warnings=list(grouping.sessions_of_keyword(code, shown, files)))
    if not any(callable(code.value(name)) for name in ("filter_files", "filter_dicom", "custom_seqinfo")):
        result.shown = list(shown)
        return result
    files_till_now = 0
    for one, its_files in zip(shown, files, strict=True):
        try:
            _ask(code, one, its_files, result)
        except FailedError as error:
            code.refuse_mistake(error.failure)
            reason = f"the heuristic fails on this series: {error.failure.text}"
            result.left_out.append(unanswered(one.series, reason))
    for number, one in enumerate(result.shown):
        files_till_now += one.info.series_files
        info = one.info._replace(total_files_till_now=files_till_now)
        result.shown[number] = Shown(one.series, info)
    return result


def _ask(code: UserCode, one: Shown, files: SeriesFiles, result: Filtered) -> None:
    kept = _kept(code, files)
    if not kept:
        hooks = " and ".join(name for name in ("filter_files", "filter_dicom") if code.has(name))
        reason = f"the heuristic's {hooks} {'drop' if ' ' in hooks else 'drops'} all its files"
        result.left_out.append(unanswered(one.series, reason, is_meant=True))
        return
    if len(kept) < len(files.paths):
        whole, cut = files.left(set(kept))
        if cut or not whole:
            result.left_out.append(unanswered(one.series, _partly(len(files.paths) - len(kept), files)))
            return
        result.only[one.info.series_id] = whole
        one = with_files(one, len(kept))
    result.shown.append(_with_custom(code, one, [files.path(name) for name in kept], result))


def _kept(code: UserCode, files: SeriesFiles) -> list[str]:
    kept = list(files.paths)
    if callable(code.value("filter_files")):
        kept = [name for name in kept if code.call("filter_files", str(files.path(name)))]
    if callable(code.value("filter_dicom")):
        kept = [name for name in kept if not code.call("filter_dicom", _dataset(code, files.path(name)))]
    return kept


def _partly(dropped: int, files: SeriesFiles) -> str:
    return (
        f"the heuristic's filters drop {dropped} of its {len(files.paths)} files, but its volumes are made "
        "of all of them: drop whole volumes, or none"
    )


def _dataset(code: UserCode, path: Path) -> pydicom.Dataset:
    """As heudiconv reads it, with a ProtocolName in any case. Its persons are blanked from now on."""
    import pydicom  # noqa: PLC0415 (few heuristics have this hook)

    dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    if not str(dataset.get("ProtocolName") or "").strip():
        dataset.ProtocolName = ""
    code.blank.learn({keyword: str(dataset.get(keyword) or "") for keyword in IN_HEADERS})
    return dataset


def _with_custom(code: UserCode, one: Shown, paths: Sequence[Path], result: Filtered) -> Shown:
    """With the field ``custom``."""
    if not callable(code.value("custom_seqinfo")):
        return one
    import nibabel.nicom.dicomwrappers as dw  # noqa: PLC0415 (few heuristics have this hook)

    # of the series' first file, as the other fields
    first = next((path for path in paths if path.name == Path(one.series.example_path).name), paths[0])
    try:
        wrapper = dw.wrapper_from_data(_dataset(code, first))
    except Exception as error:  # noqa: BLE001 (nibabel raises many kinds on odd files)
        what = f"{one.info.series_id}: 'custom' is None, nibabel cannot read its first file: {error}"
        result.warnings.append(f"{code.where}: {code.blank(what)}")
        return one
    custom = code.call("custom_seqinfo", wrapper=wrapper, series_files=[str(path) for path in paths])
    try:
        hash(custom)
    except TypeError as error:
        hint = "Return a tuple, a text or a number, not a list or a dict"
        what = f"custom_seqinfo returns a {type(custom).__name__}, which cannot be a part of seqinfo"
        raise HeuristicError(what, where=code.where, hint=hint) from error
    return Shown(one.series, one.info._replace(custom=custom))


# --------------------------------------------------------------------------------------------- the others


def intended_for(code: UserCode) -> IntendedForOptions | None:
    """What ``POPULATE_INTENDED_FOR_OPTS`` wants. Raises HeuristicError for words that heudiconv has not."""
    said = code.value("POPULATE_INTENDED_FOR_OPTS")
    if not said:
        return None
    name = "POPULATE_INTENDED_FOR_OPTS"
    if not isinstance(said, Mapping) or set(said) != {"matching_parameters", "criterion"}:
        hint = f"As in {name} = {{'matching_parameters': ['Shims'], 'criterion': 'Closest'}}"
        raise HeuristicError(
            f"{name} is no dict of matching_parameters and criterion", where=code.where, hint=hint
        )
    matching, criterion = said["matching_parameters"], said["criterion"]
    matching = [matching] if isinstance(matching, str) else list(matching)
    for word, allowed in [*((one, MATCHING) for one in matching), (criterion, CRITERIA)]:
        if word not in allowed:
            hint = f"Allowed: {', '.join(allowed)}"
            raise HeuristicError(f"{name} holds {word!r}", where=code.where, hint=hint)
    return IntendedForOptions(matching_parameters=tuple(matching), criterion=criterion)


def default_fields(code: UserCode) -> dict[str, Json]:
    """What ``DEFAULT_FIELDS`` says of the dataset. heudiconv 1.5 takes License, Authors, Acknowledgements.

    Raises HeuristicError if it is no dict, or a field has another form.
    """
    name, said = "DEFAULT_FIELDS", code.value("DEFAULT_FIELDS") or {}
    if not isinstance(said, Mapping):
        what = f"{name} is a {type(said).__name__}, not a dict"
        raise HeuristicError(what, where=code.where, hint=f"As in {name} = {{'License': 'CC0'}}")
    fields = dict[str, Json]()
    for key in (key for key in said if key in DEFAULT_FIELDS):
        wanted = DEFAULT_FIELDS[key]
        value = [said[key]] if wanted is not str and isinstance(said[key], str) else said[key]
        try:
            fields[key] = msgspec.convert(value, wanted)
        except msgspec.ValidationError as error:
            form = "a text" if wanted is str else "a list of texts"
            raise HeuristicError(f"{name}: {key!r} is not {form}", where=code.where) from error
    return fields


def left_out(code: UserCode, infos: Sequence[SeqInfo]) -> Mapping[str, str]:
    """Why the heuristic names no series, by their ids: what its function ``left_out(seqinfo)`` says.

    heudiconv knows no such function; our built-ins have it.
    """
    if not callable(code.value("left_out")):
        return {}
    try:
        said = code.call("left_out", list(infos))
    except FailedError:
        return {}  # the plan says of each that it is not named
    return {str(series_id): code.blank(str(reason)) for series_id, reason in said.items()}


def not_used(code: UserCode) -> Iterator[str]:
    """What the file asks for and does not get."""
    fields = code.value("DEFAULT_FIELDS") or {}
    unknown = ", ".join(repr(key) for key in fields if key not in DEFAULT_FIELDS)
    if unknown:
        yield f"{code.where}: 'DEFAULT_FIELDS': not used: {unknown}; used are {', '.join(DEFAULT_FIELDS)}"
    suffix = code.value("scaninfo_suffix")
    if suffix not in (None, SUFFIX):
        yield f"{code.where}: 'scaninfo_suffix' is {suffix!r}; sidecars end in {SUFFIX!r}, as BIDS wants"


def other_labels(code: UserCode, infos: Sequence[SeqInfo], *, subject: str, session: str) -> Iterator[str]:
    """Where ``infotoids`` says another session, or subject, than the studies table.

    A label that is a patient's identity, or a part of it, is no contradiction: labels are to replace it. What
    the file says is not quoted, as it is made of identities.
    """
    if not callable(code.value("infotoids")) or not infos:
        return
    try:
        ids = code.call("infotoids", list(infos), outdir="")
    except FailedError as error:
        yield f"{code.where}: infotoids fails, it is not needed: {error.failure.text}"
        return
    if not isinstance(ids, Mapping):
        return
    identities = {_plain(info.patient_id) for info in infos} | {_plain(i.accession_number) for i in infos}
    for name, ours in (("subject", subject), ("session", session)):
        theirs = _plain(ids.get(name))
        if theirs and theirs != _plain(ours) and not any(theirs in identity for identity in identities):
            yield f"{code.where}: infotoids says another {name}; what counts is the studies table's {ours!r}"


def _plain(label: object) -> str:
    """Letters and digits alone, as heudiconv makes labels."""
    text = "" if label is None else str(label)
    return "".join(one for one in text.removeprefix("ses-").removeprefix("sub-") if one.isalnum())
