"""ReproIn: the name that a protocol has at the console says what its images are called.

    [PREFIX:][WIP ]<datatype>[-<suffix>][_ses-<label>][_task-<label>][_run-<number, + or =>]
        [_<key>-<label>]...[__<comment>]

A heuristic in heudiconv's dialect, and what stands behind ``heudiconv.heuristics.reproin`` for users' files
that import it: they fill ``protocols2fix``, call single functions, or replace them (``reproin.fix_seqinfo =
mine``). So functions and tables have the names that they have there, and call each other by these.

Source: ReproIn (https://github.com/ReproNim/reproin) and the docstring of heudiconv 1.5's heuristic of that
name. What differs from heudiconv's, and why, stands in docs/from_heudiconv.md.
"""

from __future__ import annotations

import hashlib
import logging
import os  # noqa: F401 - users' files get it, as re and logging, by "from ... import *"
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pacs2bids.bids import vocabulary
from pacs2bids.dialects.standins import SeqInfo

Key = tuple[str, tuple[str, ...], None]

# What users' files fill. Substitutions by md5 of the study description, by a compiled regular expression that
# is searched in it, or "" for all studies: (regular expression, replacement), applied in their order.
protocols2fix: dict[str | re.Pattern[str], list[tuple[str, str]]] = {}
fix_accession2run: dict[str, list[str]] = {}  # expressions for ids of cancelled series by accession number

# heudiconv's puts the DICOM files of every series, with all that they say of a person, into the dataset's
# sourcedata/; here they go there if a user's file says so
KEEP_DICOM = False

series_spec_fields = ("protocol_name", "series_description")  # the first that holds a ReproIn name counts
KNOWN_DATATYPES = {"anat", "dwi", "fmap", "func", "perf"}
DEFAULT_FIELDS: dict[str, str] = {}

lgr = logging.getLogger("heudiconv")  # users' files say things by it

# names that scanners give, and that older protocols have
FIXED_WORDS = (("anat_T1w", "anat-T1w"), ("hardi_64", "dwi_acq-hardi64"), ("AAHead_Scout", "anat-scout"))
LABELLED = {"ses": "session", "run": "run", "task": "task", "acq": "acq", "rec": "rec", "dir": "dir"}
DEFAULT_SUFFIXES = {"func": "bold", "dwi": "dwi", "perf": "asl"}
# maps that scanners compute of diffusion images, by their word in ImageType
DIFFUSION_MAPS = {"ADC": "ADC", "FA": "FA", "TRACEW": "trace", "COLFA": "colFA", "EXPADC": "expADC"}
REPORT = "PhoenixZIPReport"  # of Siemens' consoles: a series without images that bears a protocol's name
SAME_IMAGES = timedelta(seconds=5)  # nearer in time are two reconstructions of the same images, no repeat


# ------------------------------------------------------------------------------------------- the answers


def infotodict(seqinfo: list[SeqInfo]) -> dict[Key, list[str]]:
    """Keys with the ids of the series that their names ask for; repeats get keys of their own (``__dup-01``).

    Raises ValueError for a series whose name is of ReproIn but cannot be used; it says why.
    """
    info: dict[Key, list[str]] = {}
    runs = _Runs()
    as_sent = {one.series_id: one for one in seqinfo}
    for one in fix_seqinfo(list(seqinfo)):
        spec = _spec(one)
        if spec and not _left_out(one, spec):
            key = _key(one, spec | {"map": _map(as_sent.get(one.series_id, one))}, runs)
            info.setdefault(key, []).append(one.series_id)
    return get_dups_marked({key: _kept_last(ids, as_sent) for key, ids in info.items()})


def left_out(seqinfo: list[SeqInfo]) -> dict[str, str]:
    """Why series have no name, by their ids."""
    reasons = {}
    for one in fix_seqinfo(list(seqinfo)):
        spec = _spec(one)
        reasons[one.series_id] = _left_out(one, spec) if spec else "its name is not one of ReproIn"
    return {series_id: reason for series_id, reason in reasons.items() if reason}


def infotoids(seqinfos: Iterable[SeqInfo], outdir: str = "") -> dict[str, str | None]:
    """What the names say of the session: a label, several ("1 and 2"), or None.

    None of the subject, which is an identity, nor of "+" (the next session) and "=" (the same one): labels
    come from the studies table.
    """
    del outdir
    specs = [_spec(one) for one in fix_seqinfo(list(seqinfos)) if not one.is_derived]
    said = dict.fromkeys(spec["session"] for spec in specs if spec.get("session") not in (None, "", "+", "="))
    return {"locator": None, "session": " and ".join(said) or None, "subject": None}


def get_dups_marked(info: dict[Key, list[str]], per_series: bool = True) -> dict[Key, list[str]]:
    """The last series of each key keeps it, the others get keys that end in ``__dup-01`` and so on.

    ``per_series``: count anew for each key.
    """
    marked = {key: ids[-1:] for key, ids in info.items()}
    count = 0
    for key, ids in info.items():
        count = 0 if per_series else count
        for series_id in ids[:-1]:
            count += 1
            marked[f"{key[0]}__dup-{count:02d}", key[1], key[2]] = [series_id]
    return marked


def _acquired(one: SeqInfo) -> datetime | None:
    try:
        return datetime.strptime(f"{one.date}{str(one.time)[:6]}", "%Y%m%d%H%M%S")
    except ValueError:
        return None


def _kept_last(ids: list[str], series: dict[str, SeqInfo]) -> list[str]:
    """The ids, and that one last that was acquired last, whatever its number (heudiconv#740).

    What the scanner computed comes before what it acquired: it repeats nothing.
    """
    acquired = [one for one in ids if not series[one].is_derived] or ids
    times = {one: time for one in acquired if (time := _acquired(series[one])) is not None}
    recent = [one for one in acquired if one in times and max(times.values()) - times[one] < SAME_IMAGES]
    kept = (recent if len(times) == len(acquired) else acquired)[-1]
    return [one for one in ids if one != kept] + [kept]


# ------------------------------------------------------------------------------------- names of protocols


def parse_series_spec(series_spec: str) -> dict[str, str]:
    """Parts of a ReproIn name; empty if it is none.

    Keys: datatype, datatype_suffix, session, run, task, acq, rec, dir, and bids for all other words.
    """
    words = _words(series_spec)
    datatype, _, suffix = words[0].partition("-")
    if datatype not in KNOWN_DATATYPES:
        return {}
    spec = {"datatype": datatype} | ({"datatype_suffix": suffix} if suffix else {})
    others = []
    for word in words[1:]:
        key, hyphen, label = word.partition("-")
        if not hyphen and word[-1] in "+=":
            key, label = word[:-1], word[-1]
        if key in LABELLED:
            spec[LABELLED[key]] = _label(label)
        else:
            others.append(word)
    return spec | ({"bids": "_".join(others)} if others else {})


def _words(text: str) -> list[str]:
    for old, new in FIXED_WORDS:
        text = text.replace(old, new)
    text = re.sub(r"^[A-Z]*:", "", text.strip())  # "PU:", which scanners put before (reproin#14)
    text = re.sub(r"^WIP ", "", text)  # Philips, before patched sequences
    words = [word for word in text.partition("__")[0].split("_") if word.strip()]
    if words[:1] == ["bids"]:
        words = words[1:]
    if words[:1] == ["scout"]:
        words = ["anat-scout", *words[1:]]
    return words or [""]


def _label(label: str) -> str:
    # "(date)": Philips' consoles take no braces
    return sanitize_str(label.replace("-", "X").replace("(", "{").replace(")", "}"))


def sanitize_str(value: str) -> str:
    """Without the characters that no label of BIDS holds; those that speak of runs and fields stay."""
    return re.sub(r"[^0-9A-Za-z+={}]", "", value)


def _spec(one: SeqInfo) -> dict[str, str]:
    """The first ReproIn name of a series, with its fields filled in; else empty."""
    found = (parse_series_spec(_filled(str(getattr(one, name) or ""), one)) for name in series_spec_fields)
    return next(filter(None, found), {})


def _filled(text: str, one: SeqInfo) -> str:
    """``{date}`` or ``(date)`` becomes the series' date, and so all fields of SeqInfo."""

    def value(match: re.Match[str]) -> str:
        return str(getattr(one, match[1])) if match[1] in one._fields else match[0]

    text = re.sub(r"_ses-DATE(?=_|$)", "_ses-{date}", text)  # Siemens' XA consoles take neither
    return re.sub(r"[{(](\w+)[)}]", value, text)


# ------------------------------------------------------------------------------------- names of images


def _left_out(one: SeqInfo, spec: dict[str, str]) -> str:
    """Why a series with a ReproIn name gets none; else ""."""
    if one.series_description == REPORT:
        return "a report of the console, no image"
    if _is_scout(one, spec) and not KEEP_DICOM:
        return "a scout"
    if one.series_description.endswith("_SBRef") and spec["datatype"] not in ("func", "dwi"):
        return f"BIDS has no single-band references in {spec['datatype']}"
    if spec["datatype"] == "dwi" and any(word.startswith("TENSOR") for word in one.image_type):
        return "BIDS has no name for tensors that the scanner computed"
    return ""


def _key(one: SeqInfo, spec: dict[str, str], runs: _Runs) -> Key:
    words = [word for word in spec.get("bids", "").split("_") if word not in ("", "SBRef")]
    labels: dict[str, str] = {name: spec[name] for name in ("task", "acq", "rec", "dir") if name in spec}
    others = [(_plain(key), hyphen, _label(label)) for key, hyphen, label in map(_parted, words)]
    labels |= {key: label for key, hyphen, label in others if key and hyphen}
    unlabelled = [key for key, hyphen, _ in others if key and not hyphen]
    protocol = (spec["datatype"], spec.get("datatype_suffix"), *unlabelled, *sorted(labels.items()))
    suffix, odd = _suffix(one, spec, unlabelled)
    labels |= _labels_of_images(one, labels, suffix)
    if spec["datatype"] == "func":
        labels.setdefault("task", "UNKNOWN")
    if "run" in spec:
        kind = (suffix, labels.get("part"), labels.get("rec"))
        labels["run"] = runs.label(spec["run"], protocol, kind)
    entities = [f"{name}-{_checked(name, labels[name])}" for name in sorted(labels, key=vocabulary().rank)]
    outtypes = ("dicom",) if _is_scout(one, spec) else None
    return create_key(spec["datatype"], "_".join([*entities, *odd, suffix]), outtypes)


def _suffix(one: SeqInfo, spec: dict[str, str], words: list[str]) -> tuple[str, list[str]]:
    """The suffix, and those words that mean nothing. Raises ValueError if nothing tells the suffix."""
    datatype, said = spec["datatype"], spec.get("datatype_suffix", "")
    suffixes = {one.lower(): one for one in vocabulary().suffixes(datatype)}  # t1w is T1w
    if words and words[-1].lower() in suffixes and said.lower() in ("", words[-1].lower()):
        *words, said = words
    if one.series_description.endswith("_SBRef"):
        said = "sbref"
    elif datatype == "dwi" and spec["map"]:
        said = spec["map"]
    elif datatype == "fmap" and not said:
        said = _suffix_of_field_map(one, spec)
    said = said or DEFAULT_SUFFIXES.get(datatype, "")
    if not said:
        raise ValueError(f"{datatype!r} alone does not tell which image it is; write it as in anat-T1w")
    return suffixes.get(_plain(said).lower(), _plain(said)), words


def _map(one: SeqInfo) -> str:
    """Suffix of a map that the scanner computed of diffusion images; "" for anything else."""
    # of XA, ColFA says FA in ImageType: its description tells (corpus xa30/14)
    words = (*one.image_type, one.series_description.rpartition("_")[2].upper())
    return next((DIFFUSION_MAPS[word] for word in reversed(words) if word in DIFFUSION_MAPS), "")


def _suffix_of_field_map(one: SeqInfo, spec: dict[str, str]) -> str:
    if "dir" in spec or "DIFFUSION" in one.image_type:
        return "epi"
    if "P" in one.image_type:
        return "phasediff"
    if "M" in one.image_type:
        return "magnitude"
    raise ValueError("ImageType does not tell which field map this is; write it as in fmap-epi")


def _labels_of_images(one: SeqInfo, labels: dict[str, str], suffix: str) -> dict[str, str]:
    """What the images themselves add to the labels of their protocol."""
    added: dict[str, str] = {}
    if len(one.image_type) > 2 and one.image_type[2].startswith("MIP"):
        added["acq"] = labels.get("acq", "") + sanitize_str(one.image_type[2])
    if one.is_motion_corrected:
        added["rec"] = labels.get("rec", "") + "moco"
    if "P" in one.image_type and "part" not in labels and not suffix.startswith("phase"):
        added["part"] = "phase"
    return added


def _is_scout(one: SeqInfo, spec: dict[str, str]) -> bool:
    setter = f"{one.protocol_name}_setter".lower()  # of a navigator
    described = "_Scout" in one.series_description or one.series_description.lower() == setter
    is_typed = spec["datatype"] == "anat" and spec.get("datatype_suffix", "").startswith("scout")
    return is_typed or described


def _checked(name: str, label: str) -> str:
    """A label that BIDS can hold. Raises ValueError if nothing of it is left."""
    if not _plain(label):
        raise ValueError(f"the entity {name!r} has no label")
    return _plain(label)


def _plain(word: str) -> str:
    """Without what no name of BIDS holds."""
    return re.sub(r"[^0-9A-Za-z+]", "", word)


def _parted(word: str) -> tuple[str, str, str]:
    return word.partition("-")


@dataclass
class _Runs:
    """Counts the runs that are asked for by "+" and "=", over all series of a session."""

    number: int = 0
    protocol: tuple[object, ...] = ()
    seen: set[tuple[object, ...]] = field(default_factory=set)

    def label(self, asked: str, protocol: tuple[object, ...], kind: tuple[object, ...]) -> str:
        """Label of the run; ``kind``: what tells the series of one run apart. Raises ValueError."""
        # phase beside magnitude, images after their single-band reference: one run
        goes_on = protocol == self.protocol and kind not in self.seen
        if asked.isdecimal():
            self.number = int(asked)
        elif asked == "+":
            self.number += not goes_on
        elif asked == "=":
            self.number = max(self.number, 1)
        else:
            raise ValueError(f"a run is a number, + or =, not {asked!r}")
        self.seen = {*self.seen, kind} if goes_on else {kind}
        self.protocol = protocol
        return f"{self.number:02d}"


def create_key(
    subdir: str | None,
    file_suffix: str,
    outtype: tuple[str, ...] | None = None,
    annotation_classes: None = None,
    prefix: str = "",
) -> Key:
    """A key of ``infotodict``; ``file_suffix`` is what follows subject and session. Raises ValueError.

    ``outtype``: None: volumes, and with ``KEEP_DICOM`` the DICOM files, too.
    """
    if not subdir:
        raise ValueError("a key needs a folder, as in create_key('func', 'task-rest_bold')")
    parts = (prefix, "{bids_subject_session_dir}", subdir, "{bids_subject_session_prefix}_" + file_suffix)
    usual = ("nii.gz", "dicom") if KEEP_DICOM else ("nii.gz",)
    return "/".join(filter(None, parts)), outtype or usual, annotation_classes


# ------------------------------------------------------------------------------------- what users correct


def fix_seqinfo(seqinfo: list[SeqInfo]) -> list[SeqInfo]:
    """Series with the corrections of ``fix_accession2run`` and ``protocols2fix``."""
    return fix_dbic_protocol(fix_canceled_runs(seqinfo))


def fix_canceled_runs(seqinfo: list[SeqInfo]) -> list[SeqInfo]:
    """Mark those that ``fix_accession2run`` calls cancelled: their names are none of ReproIn then."""

    def fixed(one: SeqInfo) -> SeqInfo:
        patterns = fix_accession2run.get(one.accession_number, [])
        if not any(re.match(pattern, one.series_id) for pattern in patterns):
            return one
        return _with(one, {name: f"cancelme_{getattr(one, name)}" for name in series_spec_fields})

    return [fixed(one) for one in seqinfo]


def fix_dbic_protocol(seqinfo: list[SeqInfo]) -> list[SeqInfo]:
    """Apply ``protocols2fix``: what is for this study, for studies like it, then for all."""
    return [_substituted(one, _substitutions(one.study_description or "")) for one in seqinfo]


def _apply_substitutions(
    seqinfo: list[SeqInfo], substitutions: Iterable[tuple[str, str]], subs_scope: str = ""
) -> None:
    """Replace series in the list; for users' files, some of which import it all the same."""
    del subs_scope  # for heudiconv's log
    seqinfo[:] = [_substituted(one, list(substitutions)) for one in seqinfo]


def _substituted(one: SeqInfo, substitutions: Iterable[tuple[str, str]]) -> SeqInfo:
    values = {name: str(getattr(one, name) or "") for name in series_spec_fields}
    for pattern, replacement in substitutions:
        values = {name: re.sub(pattern, replacement, value) for name, value in values.items()}
    return _with(one, values)


def _with(one: SeqInfo, values: dict[str, Any]) -> SeqInfo:
    return one._replace(**values)


def _substitutions(study_description: str) -> Iterator[tuple[str, str]]:
    if study_description:
        yield from protocols2fix.get(md5sum(study_description), [])
    for key, substitutions in protocols2fix.items():
        if isinstance(key, re.Pattern) and key.search(study_description):
            yield from substitutions
    yield from protocols2fix.get("", [])


def md5sum(string: str | None) -> str:
    """The key of a study description in ``protocols2fix``; "" of nothing."""
    return hashlib.md5(string.encode(), usedforsecurity=False).hexdigest() if string else ""


def get_unique(seqinfos: Iterable[SeqInfo], attr: str) -> object:
    """The value of a field that all series share. Raises ValueError if they do not."""
    values = {getattr(one, attr) for one in seqinfos}
    if len(values) != 1:
        raise ValueError(f"{attr} differs between the series")
    return values.pop()


def get_study_description(seqinfo: Sequence[SeqInfo]) -> str:
    """Of series of one study. Raises ValueError if they are of several."""
    return str(get_unique(seqinfo, "study_description"))


def get_study_hash(seqinfo: Sequence[SeqInfo]) -> str:
    """The key of a study in ``protocols2fix``. Raises ValueError for series of several studies."""
    return md5sum(get_study_description(seqinfo))


def fixup_subjectid(subjectid: str) -> str:
    """A label for a patient ID: in small letters, "sid" with six digits, without hyphen and underscore."""
    number = re.fullmatch(r"sid0*(\d+)", subjectid.lower())
    return f"sid{int(number[1]):06d}" if number else re.sub(r"[-_]", "", subjectid.lower())
