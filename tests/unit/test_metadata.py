"""Metadata that follows from the names of a session: which field map is for what, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from pacs2bids.bids import BidsName
from pacs2bids.metadata import Added, Choices, Events, FieldMaps, Shims, complete
from pacs2bids.session import IntendedForOptions, Named
from planning import named_stack, stack

GRID = ((-3.0, 0, 0, 96.0), (0, 3.0, 0, -96.0), (0, 0, 3.0, -45.0), (0, 0, 0, 1.0))
WHOLE_HEAD = ((-4.0, 0, 0, 128.0), (0, 4.0, 0, -128.0), (0, 0, 4.0, -64.0), (0, 0, 0, 1.0))
SHIMS = [100, -200, 300, 4, 5, 6, 7, 8]
OTHER_SHIMS = [100, -200, 350, 4, 5, 6, 7, 8]


def volume(
    name: str,
    minute: int | None = 0,
    *,
    along: str | None = "j",
    affine: Any = GRID,
    shims: list[Any] | None = SHIMS,
    grid: tuple[int, int, int] = (64, 64, 30),
    volumes: int = 1,
    session: str = "a",
    **sidecar: Any,
) -> Named:
    """A volume named "func/task-rest_bold", acquired so many minutes after ten."""
    datatype, words = name.split("/")
    prefix = f"sub-01_ses-{session}" if session else "sub-01"
    path = f"{prefix.replace('_', '/')}/{datatype}/{prefix}_{words}"
    one = stack(
        1,
        volumes=volumes,
        grid=grid,
        affine=affine,
        sidecar=sidecar | ({"ShimSetting": list(shims)} if shims else {}),
        acquired=None if minute is None else f"2026-01-02T10:{minute:02d}:00",
        phase_encoding_direction=along,
    )
    return named_stack(one, name, path)


def completed(
    session: Sequence[Named],
    wanted: FieldMaps = FieldMaps.BOTH,
    options: IntendedForOptions | None = None,
    shims: Shims = Shims.SAME,
) -> dict[str, Added]:
    """By name without subject and session."""
    found = complete(session, Choices(fieldmaps=wanted, shims=shims), options)
    return {path.rpartition("/")[2].split("ses-a_")[-1]: added for path, added in found.items()}


def fields(session: Sequence[Named], **kwargs: Any) -> dict[str, dict[str, Any]]:
    return {name: added.fields for name, added in completed(session, **kwargs).items()}


def about_maps(found: dict[str, Added]) -> list[str]:
    """Warnings that an image has no field map, or a field map no image."""
    return [warning for added in found.values() for warning in added.warnings if "field map" in warning]


def uri(name: str) -> str:
    return f"bids::sub-01/ses-a/{name.replace('/', '/sub-01_ses-a_')}.nii.gz"


EPI_PAIR = (volume("fmap/dir-AP_epi", 1, along="j-"), volume("fmap/dir-PA_epi", 2, along="j"))
GRADIENT_ECHO = (
    volume("fmap/magnitude1", 1, affine=WHOLE_HEAD),
    volume("fmap/magnitude2", 1, affine=WHOLE_HEAD),
    volume("fmap/phasediff", 1, affine=WHOLE_HEAD, EchoTime1=0.0049, EchoTime2=0.0074),
)
BOLD = volume("func/task-rest_bold", 5, along="j-")


# ------------------------------------------------------------------------------------------ both directions


@pytest.mark.parametrize("maps", [EPI_PAIR, GRADIENT_ECHO])
def test_a_field_map_and_its_images_speak_of_each_other(maps: Sequence[Named]) -> None:
    found = fields([*maps, BOLD])
    label = found["task-rest_bold"]["B0FieldSource"]
    for one in maps:
        said = found[one.name.path.partition("ses-a_")[2]]
        assert said["IntendedFor"] == [uri("func/task-rest_bold")]
        assert said["B0FieldIdentifier"] == label
    assert label.replace("_", "").isalnum()
    assert "sesa" in label, "unique in the subject, not in the session alone"


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (FieldMaps.BOTH, {"IntendedFor", "B0FieldIdentifier", "B0FieldSource"}),
        (FieldMaps.B0FIELD, {"B0FieldIdentifier", "B0FieldSource"}),
        (FieldMaps.INTENDED_FOR, {"IntendedFor"}),
        (FieldMaps.NONE, set()),
    ],
)
def test_a_person_chooses_the_way_they_speak(wanted: FieldMaps, names: set[str]) -> None:
    found = fields([*EPI_PAIR, BOLD], wanted=wanted)
    said = {name for each in found.values() for name in each}
    assert said - {"TaskName"} == names


def test_of_a_session_without_field_maps_nothing_is_said() -> None:
    added = completed([BOLD])["task-rest_bold"]
    assert (added.fields, added.notes, added.warnings) == ({"TaskName": "rest"}, (), ())


def test_two_sessions_of_a_subject_call_their_maps_differently() -> None:
    labels = {
        added.fields["B0FieldIdentifier"]
        for label in ("a", "b")
        for added in complete([volume("fmap/phasediff", session=label)], Choices(), None).values()
    }
    assert len(labels) == 2


def test_no_session_is_no_word_in_a_path() -> None:
    maps = [
        volume(f"fmap/dir-{label}_epi", along=along, session="") for label, along in (("A", "j"), ("P", "j-"))
    ]
    bold = volume("func/task-rest_bold", session="")
    found = complete([*maps, bold], Choices(), None)
    said = found["sub-01/fmap/sub-01_dir-A_epi"].fields
    assert said["IntendedFor"] == ["bids::sub-01/func/sub-01_task-rest_bold.nii.gz"]
    assert said["B0FieldIdentifier"] == "pepolar"


# ------------------------------------------------------------------------------------------------ the choice


def chosen(image: Named, *maps: Named) -> tuple[set[str], str]:
    """The maps that an image has, and the reasons that the plan gives."""
    added = completed([image, *maps])
    image_added = added[image.name.path.partition("ses-a_")[2]]
    label = image_added.fields.get("B0FieldSource")
    of_it = {
        name
        for name, each in added.items()
        if label and each.fields.get("B0FieldIdentifier") == label and name not in image.name.path
    }
    return of_it, "; ".join(image_added.notes)


def test_shims_decide() -> None:
    before = volume("fmap/run-1_phasediff", 4, shims=OTHER_SHIMS)
    after = volume("fmap/run-2_phasediff", 50)
    maps, why = chosen(BOLD, before, after)
    assert maps == {"run-2_phasediff"}  # though the other was just before
    assert "the same shims" in why
    assert "not run-1_phasediff: its shim settings differ" in why


def test_another_shim_is_no_map_even_if_it_is_the_only_one() -> None:
    added = completed([BOLD, volume("fmap/phasediff", 4, shims=OTHER_SHIMS)])
    assert "B0FieldSource" not in added["task-rest_bold"].fields
    assert "IntendedFor" not in added["phasediff"].fields
    assert "its shim settings differ" in "; ".join(added["task-rest_bold"].notes)
    assert any("for no image" in warning for warning in added["phasediff"].warnings)


def test_a_person_may_let_shims_differ() -> None:
    """Then the same ones still come first, and a map of elsewhere is still none."""
    after = volume("fmap/run-1_phasediff", 4, shims=OTHER_SHIMS)
    (source,) = {each.get("B0FieldSource") for each in fields([BOLD, after], shims=Shims.ANY).values()} - {
        None
    }
    assert "run1" in source
    found = completed([BOLD, after], shims=Shims.ANY)
    assert found["run-1_phasediff"].fields["IntendedFor"] == [uri("func/task-rest_bold")]
    assert "other shims" in found["task-rest_bold"].notes[0]
    assert not about_maps(found)
    both = fields([BOLD, after, volume("fmap/run-2_phasediff", 50)], shims=Shims.ANY)
    assert "run2" in both["task-rest_bold"]["B0FieldSource"]
    neck = ((-3.0, 0, 0, 96.0), (0, 3.0, 0, -96.0), (0, 0, 3.0, -135.0), (0, 0, 0, 1.0))
    elsewhere = volume("fmap/phasediff", shims=OTHER_SHIMS, affine=neck)
    assert "B0FieldSource" not in fields([BOLD, elsewhere], shims=Shims.ANY)["task-rest_bold"]


def test_unknown_shims_are_no_objection() -> None:
    maps, why = chosen(BOLD, volume("fmap/phasediff", 4, shims=None))
    assert maps == {"phasediff"}
    assert "shims unknown" in why


def test_a_map_of_elsewhere_is_none() -> None:
    neck = ((-3.0, 0, 0, 96.0), (0, 3.0, 0, -96.0), (0, 0, 3.0, -135.0), (0, 0, 0, 1.0))
    maps, why = chosen(BOLD, volume("fmap/phasediff", 4, affine=neck))
    assert not maps
    assert "it covers 0% of the image" in why


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("shifted", "is_map"), [(1 / 3, True), (2 / 3, False)])
def test_half_of_the_image_must_be_covered(axis: int, shifted: float, is_map: bool) -> None:
    """By a map turned about z by 90 degrees, so that its columns run along the image's rows."""
    turned = [[0.0, 3.0, 0.0, -96.0], [3.0, 0.0, 0.0, -96.0], [0.0, 0.0, 3.0, -45.0], [0.0, 0.0, 0.0, 1.0]]
    turned[axis][3] += shifted * (192, 192, 90)[axis]
    maps, why = chosen(BOLD, volume("fmap/phasediff", affine=tuple(map(tuple, turned))))
    assert bool(maps) is is_map
    assert f"covers {1 - shifted:.0%} of the image" in why


def test_a_slab_within_a_map_of_the_whole_head_is_covered() -> None:
    maps, why = chosen(BOLD, *GRADIENT_ECHO)
    assert maps == {"phasediff", "magnitude1", "magnitude2"}
    assert "covers 100%" in why


def test_time_decides_among_equals() -> None:
    runs = [volume(f"fmap/run-{number}_phasediff", minute) for number, minute in ((1, 0), (2, 20), (3, 40))]
    images = {minute: volume(f"func/task-t{minute}_bold", minute) for minute in (5, 18, 32)}
    found = [chosen(image, *runs)[0] for image in images.values()]
    assert found == [{"run-1_phasediff"}, {"run-2_phasediff"}, {"run-3_phasediff"}]


def test_echo_planar_maps_on_the_images_own_grid_come_before_closer_ones() -> None:
    of_diffusion = [
        volume("fmap/acq-x_dir-AP_epi", 8, along="j-", affine=WHOLE_HEAD),
        volume("fmap/acq-x_dir-PA_epi", 9, along="j", affine=WHOLE_HEAD),
    ]
    late = volume("func/task-rest_bold", 10, along="j-")
    assert chosen(late, *of_diffusion, *EPI_PAIR)[0] == {"dir-AP_epi", "dir-PA_epi"}
    diffusion = volume("dwi/dwi", 10, along="j-", affine=WHOLE_HEAD)
    assert chosen(diffusion, *of_diffusion, *EPI_PAIR)[0] == {"acq-x_dir-AP_epi", "acq-x_dir-PA_epi"}


@pytest.mark.parametrize(("label", "image"), [("func", "dwi/dwi"), ("dwi", "func/task-rest_bold")])
def test_an_acquisition_label_that_names_a_modality_counts(label: str, image: str) -> None:
    maps, why = chosen(volume(image), volume(f"fmap/acq-{label}_phasediff"))
    assert not maps
    assert f"its name says {label}" in why


def test_opposed_m0_scans_are_for_perfusion_and_nothing_else() -> None:
    calibrations = [
        volume(f"fmap/dir-{to}_m0scan", 4, along=along) for to, along in (("AP", "j-"), ("PA", "j"))
    ]
    labelled = volume("perf/asl", 5)
    found = fields([*EPI_PAIR, *calibrations, labelled, BOLD])
    assert found["dir-AP_m0scan"]["IntendedFor"] == [uri("perf/asl")]
    assert found["dir-AP_epi"]["IntendedFor"] == [uri("func/task-rest_bold")]
    assert found["dir-AP_m0scan"]["B0FieldIdentifier"] != found["dir-AP_epi"]["B0FieldIdentifier"]


# ------------------------------------------------------------------------------------------- phase encoding


def test_one_polarity_makes_a_map_with_the_image_against_which_it_runs() -> None:
    reverse = volume("fmap/dir-PA_epi", 1, along="j")
    reference = volume("func/task-rest_sbref", 4, along="j-")
    added = completed([reverse, reference, BOLD])
    label = added["dir-PA_epi"].fields["B0FieldIdentifier"]
    assert added["task-rest_sbref"].fields["B0FieldIdentifier"] == label
    assert "B0FieldIdentifier" not in added["task-rest_bold"].fields
    assert added["task-rest_bold"].fields["B0FieldSource"] == label
    assert "makes the map" in "; ".join(added["task-rest_sbref"].notes)


def test_a_pair_needs_no_other_image() -> None:
    found = fields([*EPI_PAIR, BOLD, volume("func/task-rest_sbref", 4, along="j-")])
    assert "B0FieldIdentifier" not in found["task-rest_bold"] | found["task-rest_sbref"]


@pytest.mark.parametrize(
    ("along", "why"),
    [
        ("j-", "in the same direction"),
        ("i", "along another axis"),
        (None, "its phase-encoding direction is unknown"),
    ],
)
def test_an_echo_planar_map_must_run_against_the_image(along: str | None, why: str) -> None:
    maps, said = chosen(BOLD, volume("fmap/dir-x_epi", along=along))
    assert not maps
    assert why in said


def test_directions_are_compared_in_the_patient_not_by_letter() -> None:
    """The map is stored with its rows the other way round: its j- is the image's j."""
    flipped = ((-3.0, 0, 0, 96.0), (0, -3.0, 0, 93.0), (0, 0, 3.0, -45.0), (0, 0, 0, 1.0))
    assert chosen(BOLD, volume("fmap/dir-x_epi", along="j-", affine=flipped))[0] == {"dir-x_epi"}
    assert chosen(BOLD, volume("fmap/dir-x_epi", along="j", affine=flipped))[0] == set()


def test_runs_counted_over_both_polarities_make_one_map() -> None:
    epis = [
        volume("fmap/dir-AP_run-1_epi", 1, along="j-"),
        volume("fmap/dir-PA_run-2_epi", 2, along="j"),
        volume("fmap/dir-AP_run-3_epi", 30, along="j-"),
        volume("fmap/dir-PA_run-4_epi", 31, along="j"),
    ]
    assert chosen(BOLD, *epis)[0] == {"dir-AP_run-1_epi", "dir-PA_run-2_epi"}
    assert chosen(volume("func/task-rest_bold", 40), *epis)[0] == {"dir-AP_run-3_epi", "dir-PA_run-4_epi"}


def epi(to: str, minute: int, run: int = 0, **kwargs: Any) -> Named:
    name = f"fmap/dir-{to}_run-{run}_epi" if run else f"fmap/dir-{to}_epi"
    return volume(name, minute, along={"AP": "j-", "PA": "j"}[to], **kwargs)


def maps_of(session: Sequence[Named]) -> dict[str, set[str]]:
    """Names of the volumes of each map, by its identifier."""
    found: dict[str, set[str]] = {}
    for name, said in fields(session).items():
        if name.endswith("epi"):
            found.setdefault(said["B0FieldIdentifier"], set()).add(name.removesuffix("_epi"))
    return found


def test_a_polarity_that_was_repeated_leaves_the_pairs_to_those_next_to_each_other() -> None:
    """Numbered each polarity for itself, AP run-2 and PA run-1 follow each other."""
    later = volume("func/task-rest_run-2_bold", 12, along="j-")
    epis = [epi("AP", 2, 1), epi("AP", 3, 2), epi("PA", 4, 1), epi("AP", 10, 3), epi("PA", 11, 2)]
    assert list(maps_of([*epis, BOLD, later]).values()) == [
        {"dir-AP_run-1"},
        {"dir-AP_run-2", "dir-PA_run-1"},
        {"dir-AP_run-3", "dir-PA_run-2"},
    ]
    assert chosen(BOLD, *epis, later)[0] == {"dir-AP_run-2_epi", "dir-PA_run-1_epi"}
    assert chosen(later, *epis, BOLD)[0] == {"dir-AP_run-3_epi", "dir-PA_run-2_epi"}


@pytest.mark.parametrize(
    ("epis", "pairs"),
    [
        # the first AP was of no use; a lone PA after the image changes nothing
        ([("AP", 2), ("AP", 3), ("PA", 4), ("PA", 40)], {(3, 4), (2, 40)}),
        # closer to the next map than to each other
        ([("AP", 0), ("PA", 2), ("AP", 3), ("PA", 5)], {(0, 2), (3, 5)}),
        ([("PA", 0), ("AP", 1), ("AP", 20), ("PA", 21)], {(0, 1), (20, 21)}),
    ],
)
def test_runs_over_both_polarities_pair_by_time(
    epis: Sequence[tuple[str, int]], pairs: set[tuple[int, ...]]
) -> None:
    session = [epi(to, minute, number) for number, (to, minute) in enumerate(epis, start=1)]
    found = complete([*session, volume("func/task-rest_bold", 6)], Choices(), None)
    minutes: dict[str, tuple[int, ...]] = {}
    for (_, minute), one in zip(epis, session, strict=True):
        label = found[one.name.path].fields["B0FieldIdentifier"]
        minutes[label] = (*minutes.get(label, ()), minute)
    assert set(minutes.values()) == pairs


def test_any_number_of_repeats_pairs() -> None:
    """All of one polarity, then all of the other: each of 500 may go with each."""
    both = [epi(to, 2, run) for to in ("AP", "PA") for run in range(1, 501)]
    maps = maps_of([*both, epi("PA", 1, 501), epi("PA", 3, 502)])
    assert sorted(map(len, maps.values())) == [1, 1, *[2] * 500]


def test_polarities_of_other_shims_are_no_pair() -> None:
    """Repeated after the person moved: each block of its own shims, whatever the runs are called."""
    first = [epi("AP", 2, 1), epi("AP", 3, 2), epi("PA", 4, 1)]
    second = [epi("AP", 10, 3, shims=OTHER_SHIMS), epi("PA", 11, 2, shims=OTHER_SHIMS)]
    later = volume("func/task-rest_run-2_bold", 12, along="j-", shims=OTHER_SHIMS)
    maps, why = chosen(later, *first, *second, BOLD)
    assert maps == {"dir-AP_run-3_epi", "dir-PA_run-2_epi"}
    assert "the same shims" in why


def test_polarities_of_one_name_and_other_shims_are_two_maps() -> None:
    session = [epi("AP", 2), epi("PA", 4, shims=OTHER_SHIMS), BOLD]
    assert sorted(maps_of(session).values(), key=min) == [{"dir-AP"}, {"dir-PA"}]
    assert chosen(BOLD, *session[:2])[0] == set()


def test_polarities_of_other_shims_stay_one_map_where_shims_do_not_count() -> None:
    """As the configuration says, or the heuristic by what it matches."""
    session = [epi("AP", 2), epi("PA", 4, shims=OTHER_SHIMS), BOLD]
    targets = ["func/task-rest_bold.nii.gz"]
    assert intended(session, asked("Force")) == {"dir-AP_epi": targets, "dir-PA_epi": targets}
    found = complete(session, Choices(shims=Shims.ANY), None)
    labels = {found[one.name.path].fields["B0FieldIdentifier"] for one in session[:2]}
    assert labels == {found[BOLD.name.path].fields["B0FieldSource"]}


def test_heudiconv_groups_by_name() -> None:
    session = [epi("AP", 2, 1), epi("AP", 3, 2), epi("PA", 4, 1), BOLD]
    targets = ["func/task-rest_bold.nii.gz"]
    first = {"dir-AP_run-1_epi": targets, "dir-PA_run-1_epi": targets}
    assert intended(session, asked("Force", criterion="First")) == first


def test_one_volume_of_other_shims_spoils_a_map() -> None:
    """The magnitude is from before the person moved."""
    mixed = (volume("fmap/magnitude1", 1, shims=OTHER_SHIMS), volume("fmap/phasediff", 2))
    maps, why = chosen(BOLD, *mixed)
    assert not maps
    assert why == "no field map: not phasediff + magnitude1: the shim settings of its magnitude1 differ"


def test_axes_of_one_name_stay_one_map() -> None:
    sideways = [volume(f"fmap/dir-{to}_epi", 3, along=along) for to, along in (("LR", "i"), ("RL", "i-"))]
    (label,) = maps_of([*EPI_PAIR, *sideways, BOLD]).values()
    assert label == {"dir-AP", "dir-PA", "dir-LR", "dir-RL"}


def test_labels_of_names_that_read_alike_differ() -> None:
    found = fields([volume("fmap/acq-a+b_fieldmap"), volume("fmap/acq-apb_fieldmap"), BOLD])
    labels = {said["B0FieldIdentifier"] for said in found.values() if "B0FieldIdentifier" in said}
    assert len(labels) == 2
    assert all(label.replace("_", "").isalnum() for label in labels)


def test_a_time_that_is_unknown_is_the_last_choice() -> None:
    maps, _ = chosen(BOLD, volume("fmap/run-1_phasediff", None), volume("fmap/run-2_phasediff", 50))
    assert maps == {"run-2_phasediff"}


# --------------------------------------------------------------------------------- heudiconv's own parameters


def asked(*parameters: str, criterion: str = "Closest") -> IntendedForOptions:
    return IntendedForOptions(matching_parameters=parameters, criterion=criterion)


T1W = volume("anat/T1w", 3, along=None, affine=WHOLE_HEAD)
SBREF = volume("func/task-rest_sbref", 4, along="j-")


def intended(session: Sequence[Named], options: IntendedForOptions) -> dict[str, list[str]]:
    """Targets of each field map, without subject and session."""
    found = fields(session, options=options)
    return {
        name: [target.partition("ses-a/")[2].replace("sub-01_ses-a_", "") for target in said["IntendedFor"]]
        for name, said in found.items()
        if "IntendedFor" in said
    }


def test_forced_is_for_everything_but_references() -> None:
    """heudiconv means anatomical images, too."""
    elsewhere = replace(T1W.stack, sidecar={})
    session = [replace(T1W, stack=elsewhere), SBREF, BOLD, volume("fmap/phasediff")]
    targets = ["anat/T1w.nii.gz", "func/task-rest_bold.nii.gz"]
    assert intended(session, asked("Force")) == {"phasediff": targets}


@pytest.mark.parametrize(
    ("parameter", "image", "fits", "not_"),
    [
        ("Shims", volume("dwi/dwi"), volume("fmap/phasediff"), volume("fmap/phasediff", shims=OTHER_SHIMS)),
        ("Shims", volume("dwi/dwi"), volume("fmap/phasediff"), volume("fmap/phasediff", shims=None)),
        (
            "ImagingVolume",
            volume("dwi/dwi"),
            volume("fmap/phasediff"),
            volume("fmap/phasediff", affine=WHOLE_HEAD),
        ),
        (
            "ImagingVolume",
            volume("dwi/dwi"),
            volume("fmap/phasediff"),
            volume("fmap/phasediff", grid=(64, 64, 20)),
        ),
        (
            "ModalityAcquisitionLabel",
            BOLD,
            volume("fmap/acq-fMRIhigh_phasediff"),
            volume("fmap/acq-diff_phasediff"),
        ),
        ("CustomAcquisitionLabel", BOLD, volume("fmap/acq-rest_phasediff"), volume("fmap/acq-x_phasediff")),
        (
            "CustomAcquisitionLabel",
            volume("dwi/acq-x_dwi"),
            volume("fmap/acq-x_phasediff"),
            volume("fmap/phasediff"),
        ),
        (
            "PlainAcquisitionLabel",
            volume("func/task-rest_acq-x_bold"),
            volume("fmap/acq-x_phasediff"),
            volume("fmap/acq-rest_phasediff"),
        ),
    ],
)
def test_each_parameter_of_heudiconv(parameter: str, image: Named, fits: Named, not_: Named) -> None:
    assert intended([image, fits], asked(parameter))
    assert not intended([image, not_], asked(parameter))


def test_all_parameters_must_hold_and_ours_do_not() -> None:
    """The map runs with the image, and lies elsewhere: what the heuristic asks for is what counts."""
    odd = volume("fmap/acq-rest_dir-AP_epi", along="j-", affine=WHOLE_HEAD)
    assert intended([BOLD, odd], asked("Shims", "CustomAcquisitionLabel"))
    assert not intended([BOLD, odd], asked("Shims", "ImagingVolume"))


def test_the_criterion_of_heudiconv() -> None:
    maps = [volume("fmap/run-1_phasediff", 0), volume("fmap/run-2_phasediff", 4)]
    assert list(intended([BOLD, *maps], asked("Shims", criterion="Closest"))) == ["run-2_phasediff"]
    assert list(intended([BOLD, *maps], asked("Shims", criterion="First"))) == ["run-1_phasediff"]


def test_the_documented_way_to_one_map_for_all_whatever_its_shims() -> None:
    session = [BOLD, volume("dwi/dwi"), volume("fmap/phasediff", 40, shims=OTHER_SHIMS)]
    everything = ["dwi/dwi.nii.gz", "func/task-rest_bold.nii.gz"]
    assert intended(session, asked("Force")) == {"phasediff": everything}
    assert not about_maps(completed(session, options=asked("Force")))


def test_the_plan_says_that_the_heuristic_asked() -> None:
    added = completed([BOLD, volume("fmap/phasediff")], options=asked("Shims", "Force"))
    assert "Shims, Force as the heuristic asks" in added["task-rest_bold"].notes[0]


def test_an_image_without_a_map_is_told_with_the_reason() -> None:
    added = completed([BOLD, SBREF, volume("fmap/phasediff", 4, shims=OTHER_SHIMS)])
    (warning,) = added["task-rest_bold"].warnings
    assert "no field map: not phasediff: its shim settings differ" in warning
    assert not added["task-rest_sbref"].warnings  # it goes with its series


# ----------------------------------------------------------- what the heuristic adds to sidecars by itself


def saying(one: Named, **said: Any) -> Named:
    return replace(one, answer=replace(one.answer, metadata=said))


def sidecars(session: Sequence[Named]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """As the plan has them: what the heuristic adds wins. And what it warns of."""
    found = completed(session)
    said = {one.name.path.partition("ses-a_")[2]: one.answer.metadata for one in session}
    merged = {name: added.fields | said[name] for name, added in found.items()}
    return merged, about_maps(found)


ODD_MAP = volume("fmap/phasediff", 4, shims=OTHER_SHIMS)


@pytest.mark.parametrize(
    "target", [uri("func/task-rest_bold"), "ses-a/func/sub-01_ses-a_task-rest_bold.nii.gz"]
)
@pytest.mark.parametrize("is_list", [True, False])
def test_a_map_that_says_what_it_is_for(target: str, is_list: bool) -> None:
    one = saying(ODD_MAP, IntendedFor=[target] if is_list else target)
    found, warnings = sidecars([BOLD, one])
    assert found["task-rest_bold"]["B0FieldSource"] == found["phasediff"]["B0FieldIdentifier"]
    assert not warnings


def test_a_map_that_says_what_it_is_for_is_for_nothing_else() -> None:
    one = saying(volume("fmap/phasediff", 4), IntendedFor=[uri("anat/T1w")])
    found, warnings = sidecars([BOLD, T1W, one])
    assert found["T1w"]["B0FieldSource"] == found["phasediff"]["B0FieldIdentifier"]
    assert "B0FieldSource" not in found["task-rest_bold"]
    (warning,) = warnings
    assert "not phasediff: the heuristic says what it is for" in warning


def test_an_image_that_says_its_source() -> None:
    one = saying(ODD_MAP, B0FieldIdentifier="mine")
    found, warnings = sidecars([saying(BOLD, B0FieldSource="mine"), one])
    assert found["phasediff"] == {"B0FieldIdentifier": "mine", "IntendedFor": [uri("func/task-rest_bold")]}
    assert not warnings
    both = [volume(f"fmap/run-{number}_phasediff", shims=OTHER_SHIMS) for number in (1, 2)]
    named = [saying(one, B0FieldIdentifier=f"map{number}") for number, one in enumerate(both)]
    found, warnings = sidecars([saying(BOLD, B0FieldSource=["map0", "map1"]), *named])
    assert [found[f"run-{number}_phasediff"]["IntendedFor"] for number in (1, 2)] == [
        [uri("func/task-rest_bold")]
    ] * 2
    assert not warnings


def test_an_identifier_of_the_heuristic_is_what_images_get() -> None:
    found, _ = sidecars([BOLD, saying(EPI_PAIR[0], B0FieldIdentifier="mine"), EPI_PAIR[1]])
    assert found["task-rest_bold"]["B0FieldSource"] == "mine"
    assert found["dir-PA_epi"]["B0FieldIdentifier"] == "mine"


def test_several_maps_that_say_the_same_image() -> None:
    target = uri("func/task-rest_bold")
    maps = [saying(volume(f"fmap/run-{number}_phasediff"), IntendedFor=target) for number in (1, 2)]
    found, warnings = sidecars([BOLD, *maps])
    labels = [found[f"run-{number}_phasediff"]["B0FieldIdentifier"] for number in (1, 2)]
    assert found["task-rest_bold"]["B0FieldSource"] == labels
    assert not warnings


def test_a_source_that_is_taken_away_is_not_missed() -> None:
    found, warnings = sidecars([saying(BOLD, B0FieldSource=None), volume("fmap/phasediff", 4)])
    assert "IntendedFor" not in found["phasediff"]
    assert warnings == ["this field map is for no image of the session"]


# ---------------------------------------------------------------------------------------------- perfusion


def asl(*types: str, volumes: int = 4, said: tuple[str, ...] = (), **sidecar: Any) -> Named:
    """Of so many volumes; ``types``: what the header says of them, ``said``: the heuristic."""
    one = volume("perf/asl", 5, volumes=volumes, RepetitionTime=4.0, **sidecar)
    facts = replace(one.stack.facts, volume_types=types)
    return replace(one, stack=replace(one.stack, facts=facts), answer=replace(one.answer, volume_types=said))


def lines(added: Added) -> list[str]:
    header, *rows = added.beside["_aslcontext.tsv"].splitlines()
    assert header == "volume_type"
    assert added.beside["_aslcontext.tsv"].endswith("\n")
    return rows


def test_the_context_of_the_header() -> None:
    added = completed([asl("m0scan", "control", "label", "control")])["asl"]
    assert lines(added) == ["m0scan", "control", "label", "control"]
    assert added.fields["M0Type"] == "Included"
    assert added.fields["TotalAcquiredPairs"] == 1
    assert "the header says it" in added.notes[0]


def test_the_context_of_the_heuristic_repeats_and_wins() -> None:
    added = completed([asl("control", "control", "label", "label", said=("label", "control"))])["asl"]
    assert lines(added) == ["label", "control"] * 2
    assert (added.fields["M0Type"], added.fields["TotalAcquiredPairs"]) == ("Absent", 2)


@pytest.mark.parametrize("said", [("m0scan", "control", "label"), ("control", "tagged")])
def test_a_context_that_does_not_fit_is_told(said: tuple[str, ...]) -> None:
    added = completed([asl(said=said)])["asl"]
    assert not added.beside
    assert "do not fit its 4 volumes" in added.warnings[0]


def test_a_context_does_not_repeat_over_volumes_that_are_missing() -> None:
    """C L c L C l C L, of which two lack slices: what is left is not C L C L C L."""
    said = ("control", "label")
    torn = asl(volumes=6, said=said)
    torn = replace(torn, stack=replace(torn.stack, facts=replace(torn.stack.facts, gaps=2)))
    added = completed([torn])["asl"]
    assert not added.beside
    assert not {"M0Type", "TotalAcquiredPairs"} & added.fields.keys()
    assert "2 volumes within the run lack slices" in added.warnings[0]
    listed = ("control", "label", "label", "control", "control", "label")
    added = completed([replace(torn, answer=replace(torn.answer, volume_types=listed))])["asl"]
    assert tuple(lines(added)) == listed


def test_a_context_against_the_header_is_told() -> None:
    types = ("label", "control", "label", "control")
    against = completed([asl(*types, said=("control", "label"))])["asl"]
    told = "the heuristic says that volume 1 is control, and the header that it is label"
    assert told in against.warnings
    agreed = completed([asl(*types, said=("label", "control"))])["asl"]
    assert not any("the header that" in warning for warning in agreed.warnings)


def test_no_context_is_guessed() -> None:
    added = completed([asl()])["asl"]
    assert not added.beside
    assert not {"M0Type", "TotalAcquiredPairs"} & added.fields.keys()
    assert "let the heuristic say it" in added.warnings[0]
    assert "BackgroundSuppression" in added.warnings[1]


def test_a_calibration_goes_with_the_series_on_its_voxels() -> None:
    near = volume("perf/acq-near_m0scan", 5, affine=WHOLE_HEAD, RepetitionTime=8.0)
    alike = volume("perf/m0scan", 40, RepetitionTime=8.0)
    added = completed([asl("control", "label"), near, alike])
    assert added["asl"].fields["M0Type"] == "Separate"
    assert added["m0scan"].fields["IntendedFor"] == [uri("perf/asl")]
    assert added["m0scan"].fields["RepetitionTimePreparation"] == 8.0
    # BIDS wants one for each of them
    assert added["acq-near_m0scan"].fields["IntendedFor"] == [uri("perf/asl")]


def test_an_m0_among_the_volumes_comes_before_one_of_its_own() -> None:
    own = asl("m0scan", "control", "label", "m0scan")
    calibration = volume("perf/m0scan", 4, RepetitionTime=8.0)
    added = completed([own, calibration])
    assert added["asl"].fields["M0Type"] == "Included"
    assert "IntendedFor" not in added["m0scan"].fields
    assert any("for no perfusion series" in warning for warning in added["m0scan"].warnings)
    other = asl("control", "label", "control", "label")
    name = BidsName.parse("sub-01/ses-a/perf/sub-01_ses-a_acq-x_asl")
    other = replace(other, name=name, answer=replace(other.answer, path=name.path))
    added = completed([own, other, calibration])
    assert added["m0scan"].fields["IntendedFor"] == [uri("perf/acq-x_asl")]
    assert (added["asl"].fields["M0Type"], added["acq-x_asl"].fields["M0Type"]) == ("Included", "Separate")


def test_slices_of_perfusion_need_their_times() -> None:
    for name in ("asl", "m0scan"):
        planar = volume(f"perf/{name}", RepetitionTime=4.0, MRAcquisitionType="2D", EchoTime=0.012)
        told = " ".join(completed([planar])[name].warnings)
        assert "SliceTiming" in told
        assert "EchoTime" not in told
        timed = volume(f"perf/{name}", RepetitionTime=4.0, MRAcquisitionType="2D", SliceTiming=[0.0, 0.1])
        assert "SliceTiming" not in " ".join(completed([timed])[name].warnings)


def test_shots_are_prepared_not_volumes() -> None:
    added = completed([asl("control", "label", RepetitionTimeExcitation=0.5)])["asl"]
    assert added.fields["RepetitionTimePreparation"] == 0.5
    assert "RepetitionTimePreparation" not in completed([asl(RepetitionTimePreparation=1.0)])["asl"].fields


# ------------------------------------------------------------------------------------------------ events


def test_runs_of_a_task_get_a_table_to_fill_in_and_rest_gets_none() -> None:
    names = ["task-restopen_bold", "task-nback_bold", "task-nback_echo-1_bold", "task-nback_sbref"]
    session = [volume(f"func/{name}") for name in names]
    found = complete(session, Choices(events=Events.SKELETON), None)
    begun = {
        path.partition("sub-01_ses-a_")[2]: added.beside for path, added in found.items() if added.beside
    }
    table = {"_events.tsv": "onset\tduration\ttrial_type\n"}
    assert begun == {"task-nback_bold": table, "task-nback_echo-1_bold": table}
    assert not any(added.beside for added in complete(session, Choices(), None).values())


# ------------------------------------------------------------------------------ what BIDS asks of a name


@pytest.mark.parametrize(("own_s", "is_theirs"), [(0.00738, True), (0.009, False), (None, False)])
def test_a_phase_difference_takes_the_echo_times_of_magnitudes_whose_second_is_its_own(
    own_s: float | None, is_theirs: bool
) -> None:
    def at(name: str, echo_time_s: float | None) -> Named:
        one = volume(f"fmap/{name}")
        facts = replace(one.stack.facts, echo_time_s=echo_time_s)
        return replace(one, stack=replace(one.stack, facts=facts))

    pair = (at("acq-a_magnitude1", 0.00492), at("acq-a_magnitude2", 0.00738))
    added = completed([*pair, at("acq-a_phasediff", 0.009), at("acq-b_phasediff", own_s)])
    assert added["acq-a_phasediff"].fields["EchoTime2"] == 0.00738  # by its name
    of_other = added["acq-b_phasediff"]
    assert of_other.fields.get("EchoTime1") == (0.00492 if is_theirs else None)
    assert any("echo times are unknown" in warning for warning in of_other.warnings) is not is_theirs


def test_what_bids_requires_and_nobody_says_is_told() -> None:
    bare = volume("anat/inv-1_MP2RAGE", RepetitionTime=5.0, InversionTime=0.7, FlipAngle=4)
    (warning,) = completed([bare])["inv-1_MP2RAGE"].warnings
    for name in ("NumberShots", "RepetitionTimeExcitation", "RepetitionTimePreparation"):
        assert name in warning
    assert "InversionTime" not in warning
    said = replace(bare.answer, metadata={"NumberShots": 176, "RepetitionTimeExcitation": 0.007})
    (warning,) = completed([replace(bare, answer=said)])["inv-1_MP2RAGE"].warnings
    assert "NumberShots" not in warning


def test_a_steady_state_repeats_its_excitation() -> None:
    found = fields([volume("anat/flip-1_VFA", RepetitionTime=0.015)])
    assert found["flip-1_VFA"]["RepetitionTimeExcitation"] == 0.015
    prepared = volume("anat/flip-1_VFA", RepetitionTime=2.0, InversionTime=0.9)
    assert "RepetitionTimeExcitation" not in fields([prepared])["flip-1_VFA"]


@pytest.mark.parametrize(("label", "state"), [("on", True), ("off", False)])
def test_the_transfer_pulse_of_the_name(label: str, state: bool) -> None:
    name = f"mt-{label}_MTR"
    assert fields([volume(f"anat/{name}")])[name]["MTState"] is state
    header_says = volume(f"anat/{name}", MTState=not state)
    assert "MTState" not in fields([header_says])[name]


# ----------------------------------------------------------------------------------------------- B1 maps


def test_each_quantitative_image_has_the_closest_b1_map_of_each_kind() -> None:
    session = [
        volume("fmap/run-1_flip-1_TB1DAM", 0),
        volume("fmap/run-1_flip-2_TB1DAM", 1),
        volume("fmap/run-2_flip-1_TB1DAM", 40),
        volume("fmap/acq-head_RB1COR", 2),
        volume("anat/run-1_flip-1_VFA", 5),
        volume("anat/run-2_flip-1_VFA", 45),
        volume("anat/T1w", 6),
    ]
    found = {name: said.get("IntendedFor") for name, said in fields(session).items()}
    first, second = uri("anat/run-1_flip-1_VFA"), uri("anat/run-2_flip-1_VFA")
    assert found["run-1_flip-1_TB1DAM"] == found["run-1_flip-2_TB1DAM"] == [first]
    assert found["run-2_flip-1_TB1DAM"] == [second]
    assert found["acq-head_RB1COR"] == [first, second]


def test_maps_that_the_scanner_computed_have_no_field_map() -> None:
    session = (*EPI_PAIR, volume("dwi/dwi", 5, along="j-"), volume("dwi/ADC", 5, along="j-"))
    found = completed(session)
    assert found["dir-PA_epi"].fields["IntendedFor"] == [uri("dwi/dwi")]
    assert "ADC" not in found or found["ADC"] == Added()
