"""Which DICOM attributes identify a patient.

Source: PS3.15 table E.1-1 (Basic Application Level Confidentiality Profile). Of what it removes or replaces
we take what a person could type, or a program copy, into a description, a table or a name: names,
identifiers, birth date, where to reach the patient, and who cared for or examined them. Not taken: what
describes many people (sex, age, size, religion) and free text (comments), of which no word is known to
identify; institution and devices, which are no patient's; UIDs, which the gate knows by their form. Dates of
the scan are taken, as the dataset hides them.
"""

from __future__ import annotations

from collections.abc import Mapping

from pacs2bids.model import Identity

# of the patient and those who answer for them (PN)
NAMES = (
    "PatientName",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "ResponsiblePerson",
)
# numbers of the patient, the visit and the order: each leads to the patient by the hospital's own systems
NUMBERS = (
    "PatientID",
    "OtherPatientIDs",
    "AccessionNumber",
    "StudyID",
    "AdmissionID",
    "ServiceEpisodeID",
    "MedicalRecordLocator",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID",
    "ScheduledProcedureStepID",
    "PerformedProcedureStepID",
)
OF_PATIENT = ("PatientID", "OtherPatientIDs")  # of these, what may be a word and no number
BIRTH_DATES = ("PatientBirthDate",)
CONTACTS = ("PatientAddress", "PatientTelephoneNumbers", "PatientTelecomInformation")
# of those around the patient (PN): who knows the scanner's roster finds the patient by them
PEOPLE = (
    "ReferringPhysicianName",
    "ConsultingPhysicianName",
    "PhysiciansOfRecord",
    "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy",
    "RequestingPhysician",
    "ScheduledPerformingPhysicianName",
    "OperatorsName",
)
SCAN_DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "AcquisitionDateTime")

KEYWORDS = (*NAMES, *NUMBERS, *BIRTH_DATES, *CONTACTS, *PEOPLE, *SCAN_DATES)
# sequences whose items hold some of the above once more
NESTED = {
    "OtherPatientIDsSequence": ("PatientID",),
    "RequestAttributesSequence": ("AccessionNumber", "RequestedProcedureID", "ScheduledProcedureStepID"),
    "ReferencedRequestSequence": ("AccessionNumber", "RequestedProcedureID"),
}

# what a PACS is asked for besides: its database may have been corrected since the files were written
ASKED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
)

# files in the folder of a study, written by index and by pull (``model.Identity``)
OF_HEADERS, OF_PACS = "identity.json", "identity.pacs.json"


def of_answer(study_instance_uid: str, answer: Mapping[str, str]) -> Identity:
    """What a PACS says of the patient of a study."""
    values: dict[str, tuple[str, ...]] = {
        keyword: (value,) for keyword in ASKED if (value := answer.get(keyword, "").strip())
    }
    return Identity(study_instance_uid=study_instance_uid, values=values)
