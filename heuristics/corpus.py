"""Names for the real scanner data that the tests convert: three vendors, classic and enhanced files.

It shows what a heuristic for several scanners looks like: series are told apart by what they are called, and
words of the names (direction, order of slices) are taken from there, too.
"""


def create_key(template, outtype=("nii.gz",), annotation_classes=None):
    """Make the key that stands for one kind of file."""
    return (template, outtype, annotation_classes)


def bids(datatype, name):
    """Key of a file of this datatype; ``name`` is what follows subject and session."""
    return create_key(
        "{bids_subject_session_dir}/" + datatype + "/{bids_subject_session_prefix}_" + name,
    )


T1W = bids("anat", "acq-tfl_T1w")
FINGER = bids("func", "task-fa_run-{item}_bold")
REST = bids("func", "task-rest_dir-{direction}_bold")
SLICES = bids("func", "task-rest_acq-{order}_bold")
DWI = bids("dwi", "dir-{direction}_dwi")
DTI = bids("dwi", "acq-mb2_dwi")
MAGNITUDE = bids("fmap", "run-{item}_magnitude")
PHASEDIFF = bids("fmap", "run-{item}_phasediff")

KEYS = (T1W, FINGER, REST, SLICES, DWI, DTI, MAGNITUDE, PHASEDIFF)

# dcm_qa_nih: what the GE console says of the order of slices
GE_ORDERS = {
    "Axial EPI-FMRI (Interleaved I to S)": "interleaved",
    "Axial EPI-FMRI (Sequential S to I)": "sequential",
}


def infotodict(seqinfo):
    """Say for each series which key it belongs to, and which further words its name has."""
    info = {key: [] for key in KEYS}
    for s in seqinfo:
        name, words = s.series_description, {}
        # ADC, FA, trace, tensor, relCBF: computed by the scanner, not raw data.
        # Arterial spin labelling needs aslcontext.tsv (which volume is control, which label), and no header
        # tells that.
        if s.is_derived or "asl" in name.lower():
            continue
        if name.startswith("anat-T1w"):
            key = T1W
        elif name.startswith("func-bold_task-fa"):
            key = FINGER
        elif name.startswith("EPI PE="):  # Siemens of dcm_qa_nih: the direction stands in the name
            key, words = REST, {"direction": name.removeprefix("EPI PE=")}
        elif name in GE_ORDERS:
            key, words = SLICES, {"order": GE_ORDERS[name]}
        elif name.startswith("DWI_dir80"):
            key, words = DWI, {"direction": name.rpartition("_")[2]}
        elif name.startswith("DTIphase"):  # Philips: the polarity stands nowhere, so no "dir-"
            key = DTI
        elif name == "gre_field_mapping":
            key = PHASEDIFF if "P" in s.image_type else MAGNITUDE
        else:
            continue
        info[key].append({"item": s.series_id, **words})
    return info
