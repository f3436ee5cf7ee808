"""Which series of the scanner becomes which file of the dataset. Copy this file and edit it.

How it works: pacs2bids calls `infotodict` once a session, with the list of its series, and gets back which
BIDS name each series shall have. What this file does not name is left out of the dataset, and plan.tsv says
so. The format is that of heudiconv's infotodict; docs/heuristics.md says what of its files is supported.

To try an edit, run `snakemake` again: it takes seconds, because images are not converted anew.
The names are checked before anything is written; a wrong one is an error that says what BIDS wants.
"""


def create_key(template, outtype=("nii.gz",), annotation_classes=None):
    """Make the key that stands for one kind of file."""
    return (template, outtype, annotation_classes)


# The names. Between braces stands what differs from file to file:
#   {bids_subject_session_dir}     sub-01/ses-a     (sub-01 in a study without sessions)
#   {bids_subject_session_prefix}  sub-01_ses-a     (sub-01)
#   {item}                         1, 2, 3, ... in the order in which series are added below; {item:02d}: 01
# Extensions are left away. The entities (task-, acq-, dir-, run-) come in the order that BIDS wants.
DIR = "{bids_subject_session_dir}"
PREFIX = "{bids_subject_session_prefix}"

T1W = create_key(f"{DIR}/anat/{PREFIX}_run-{{item}}_T1w")
REST = create_key(f"{DIR}/func/{PREFIX}_task-rest_run-{{item}}_bold")
REST_SBREF = create_key(f"{DIR}/func/{PREFIX}_task-rest_run-{{item}}_sbref")
DWI = create_key(f"{DIR}/dwi/{PREFIX}_dir-AP_run-{{item}}_dwi")
# A series with several echoes needs one line only: "magnitude" becomes magnitude1 and magnitude2 here, and
# elsewhere echo-1, echo-2, ... are put in. The same goes for part-mag and part-phase.
MAGNITUDE = create_key(f"{DIR}/fmap/{PREFIX}_run-{{item}}_magnitude")
PHASEDIFF = create_key(f"{DIR}/fmap/{PREFIX}_run-{{item}}_phasediff")
EPI_PA = create_key(f"{DIR}/fmap/{PREFIX}_dir-PA_run-{{item}}_epi")


def infotodict(seqinfo):
    """Say which series is what. The order of the tests counts: the first that fits wins."""
    info = {T1W: [], REST: [], REST_SBREF: [], DWI: [], MAGNITUDE: [], PHASEDIFF: [], EPI_PA: []}

    for s in seqinfo:
        # What a series says of itself (the names are heudiconv's):
        #   s.protocol_name, s.series_description   as typed at the console
        #   s.dim1, s.dim2, s.dim3, s.dim4          matrix; dim4 is the number of volumes of a mosaic series
        #   s.TR (in seconds), s.TE (in milliseconds), s.image_type, s.sequence_name, s.is_derived, ...
        name = s.protocol_name
        if name == "localizer":
            continue  # not wanted in the dataset
        if name == "T1w_MPRAGE":
            info[T1W].append(s.series_id)
        elif name.startswith("func_task-rest_bold"):
            # the scanner gives the reference image the name of the protocol and marks it in the description
            is_reference = s.series_description.endswith("_SBRef")
            info[REST_SBREF if is_reference else REST].append(s.series_id)
        elif name == "dwi_dir-AP":
            info[DWI].append(s.series_id)
        elif name == "gre_field_mapping":
            # one protocol gives two series: the magnitudes (M) and the phase difference (P)
            info[PHASEDIFF if "P" in s.image_type else MAGNITUDE].append(s.series_id)
        elif name == "fmap_epi_dir-PA":
            info[EPI_PA].append(s.series_id)

    return info
