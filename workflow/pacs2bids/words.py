"""Words that mean no person in the texts of scans, though a person may have one of them for a name.

A patient may be called Head, Long or Siemens; and each of his sidecars says one of these words, of whomever
it is. So the gate does not look for such a name alone: it looks for it together with the patient's others.
"""

from __future__ import annotations

# what phantoms, volunteers and those without a name are called
_NOBODY = """
admin anon anonym anonymised anonymized anonymous coil control dev development dummy healthy human image
na nobody noname none null participant patient person phantom pilot prisma qa qc regression removed
research scan scanner service session study subject system technician test tester testing trial unknown
user volunteer withheld
"""
_BODY = """
abdomen adult arm axial back body brain breast cardiac chest child coronal ear extremity eye ffdl ffdr
ffp ffs foot hand head heart hfdl hfdr hfp hfs hip kidney knee left leg liver lung neck oblique oral
orbit pelvis plane prostate right sagittal shoulder skull spine thorax tra transversal transverse tumor
vessel whole wrist
"""
_DEVICES = """
achieva avanto biograph bruker canon diffusion discovery electric elition elscint fuji ge general
healthcare healthineers hitachi imaging ingenia ingenuity magnetom medical medtronic mr mri oasis orian
philips pioneer premier scanco siemens signa skyra sola spectra symphony syngo systems terra titan
toshiba trio triotim umr united vantage varian verio vida vision
"""
_SCANS = """
2pe dicom rt ap pa lr rl is si hf fh te tr ti fa mb mt se gr ir ep ge sb pd ax sg tw id no of in on to at by
or an vs
adc add align anat angio arterial asc ascending asl average axial balanced base baseline best black blip
block blood body bold brain calib calibration cat clear coil combined contrast cor correction cs ct dark
default delay derived desc design diff diffusion dir dis2d dis3d display dixon dti dual dwi dynamic echo
end epi epse error fast fat ffe field filter fine first flair flash flip flow fmap fmri frame freq front
full func functional gate gradient gray gre grey grid group high image imaging inner int interleaved
interp invert iso label laser last light localizer long loop low magnitude main map mapping mask matrix
max mean medium min mixed moco mode mono mosaic motion mprage multi navigator new nifti nii noise norm
normal notes off old one only opposed orig original ortho out page parallel part pause perf phase physio
pick plain plan polarity post pre primary product program proton pulse rage rapid real recon ref
reference release repeat rest resting reverse reversed rise room rotate routine run sag saturation save
scout second sequence sequential series set shim short single slab slice slow small space spectro spin
spiral spoiled start state static std step stop strong structural sum survey sweep swi table task tensor
term third time tof top trace track train trigger turbo two type uniform view volume water weight white
wide wip young
"""
# what else stands in descriptions of seven vendors' scans
_DESCRIPTIONS = """
acc adaptive advanced all bipolar blade cal casl cbf cmrr col combination combine csense cube delays des dis
dose exam express fair filtered flipped grappa info lava log lut mag maps minute monopolar mpr multiphase
other pasl pat pcasl per perfusion pos propeller qii quipssii rad radial rel results rgb rot row sat secondary
sense seq sequences slc sms source speeder ssfse star stereotaxis summary surview tfl trauma twist unflipped
variable vibe yes
"""
# words of values that BIDS allows in sidecars
_VALUES = """
absent barium carbon derivative dioxide estimate gadolinium included iodine raw separate unlocalized xenon
"""
# suffixes, datatypes and entities of BIDS (bidsschematools)
_BIDS = """
acq acquisition adc anat angio asl aslcontext asllabeling atlas beh bf blood bold cars cbv ce ceagent
channels chimap chunk cohort colfa conf coordsystem defacemask den density desc description descriptions
df dic dir direction dseg dwi echo eeg electrodes emg epi events expadc fa fieldmap flair flash flip fluo
fmap func headshape hemi hemisphere ieeg inplanet1 inplanet2 inv inversion irt1 label m0map m0scan
magnitude magnitude1 magnitude2 markers mask meg megre mese micr mod modality motion mp2rage mpe mpm mrs
mrsi mrsref mt mtr mtransfer mtrmap mts mtsat mtvmap mwfmap nirs nlo norf nuc nucleus oct optodes part pc
pd pdmap pdt2 pdw perf pet phase phase1 phase2 phasediff phenotype photo physio physioevents pli probseg
proc processing r1map r2map r2starmap rb1cor rb1map rec reconstruction recording res resolution run s0map
sample sbref scale scans seg segmentation sem ses session sessions space spim split sr stain stim sub
subject svs t1map t1rho t1w t2map t2star t2starmap t2starw t2w task tb1afi tb1dam tb1epi tb1map tb1rfm
tb1srge tb1tfl tem template tpl trace tracer tracksys trc twope uct unit1 unloc vfa voi volume xpct
"""
_MONTHS = """
apr april aug august dec december feb february jan january jul july jun june mar march may nov november
oct october sep september
"""
# long words of tasks and protocols that have a name inside, as "challenge" has Allen: inside them it is none
_LONGER = """
achievement anticipation arrangement auditory cantonese challenge checkerboard cholesterol comprehension
congruent consequence coordination declarative deterministic discrimination einstein emotion empathy
encoding enhanced estimation expression familiarity feedback fingertapping flanker gambling hallucination
hamburger hippocampus imagination incentive incongruent inhibition intercostal interoception language
learning linguistic listening localiser localizer malaria mandarin martinos memorization mentalizing
minnesota movement multiband narrative navigation neuromelanin observation orthogonal pantomime perception
phonological preparation pronunciation protection psychophysics punishment quantitative recognition
reconstruction relational resolution respiration restriction retinotopy retrieval saturated semantic
sentence simultaneous somatosensory spectroscopy stimulation subliminal susceptibility temperature
tensorimaging tractography training transcranial uncertainty ventriloquist verification violence visuomotor
vocalization
"""

# of tasks, sessions and descriptions: sub-01_ses-day1_task-faces is of Mr. Day as it is of all
_TASKS = """
animal animals arrow arrows back ball bird birds bolus breath button case cases chance checkerboard cloud
color colour cue cues day days drug echo echoes ernst eye eyes face faces finger fingers fist flanker follow
followup food fourier gain game go hahn hamming happy hann hold house houses joy language learning letter
letters loss love memory money month moon mouth movie music name names nback night nogo object objects odd
oddball pain party pictures place places placebo price read reading reward rich sad score screening seed
sentence shapes social song songs speech star step stop story stroop sun tap tapping tone tones tongue toe
toes tool tools video visit visual walk week weeks win word words year years
"""

NOBODY = frozenset(_NOBODY.split())
WORDS = frozenset(
    " ".join([_NOBODY, _BODY, _DEVICES, _SCANS, _DESCRIPTIONS, _VALUES, _BIDS, _MONTHS, _TASKS]).split()
)
LONGER = frozenset(_LONGER.split())
