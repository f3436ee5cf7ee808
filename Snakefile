# From a PACS to a validated BIDS dataset. Each stage is a file in workflow/rules/ whose rule calls
# `pacs2bids <verb>`; the work is done there, and Snakemake is not known there. Nothing but the configuration
# is read here.
import asyncio
import gc
import logging
import os
import re
import signal
import sys
from collections import Counter
from functools import cache, lru_cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.types import Quietness
from snakemake_interface_logger_plugins.common import LogEvent


def stop(message):
    """End before anything runs, with one line."""
    print(f"ERROR: {message}", file=sys.stderr)
    sys.exit(2)


interrupted = []


def interrupt(number, frame):
    """Ctrl-C ends the run as an exit does: without a traceback, wherever it meets Snakemake."""
    if not interrupted:
        os.write(sys.stderr.fileno(), b"Interrupted. Run again to go on\n")
    interrupted.append(number)
    sys.exit(128 + number)


signal.signal(signal.SIGINT, interrupt)

# until the jobs start, see hooks.smk: of a thousand sessions a fifth of the time goes into looking for garbage
# among jobs, again and again while they become more, and there is none
gc.disable()

try:
    from pacs2bids.cluster import (
        CANCELLED,
        GONE,
        ended_by_slurm,
        for_plugin,
        is_busy,
        is_clear,
        memory_mb,
        note,
        of_all_mb,
        of_all_min,
        queued,
        runtime_min,
        said,
        scratch_folder,
        settled,
        size_of,
        why_ended,
        why_refused,
    )
    from pacs2bids.config import label_rules, load_config, require_files
    from pacs2bids.dialects.imports import files_of, files_that_say
    from pacs2bids.engine import engine_version
    from pacs2bids.files import private_folder, read_tsv
    from pacs2bids.model import Pacs2BidsError, session_key
    from pacs2bids.status import PROVISIONAL, is_to_be_repeated
    from pacs2bids.text import counted
    from pacs2bids.turn import RUN, take_turn
    from pacs2bids.versions import delivery_version, naming_version
except ImportError as error:
    stop(
        f"{error}: this snakemake is not that of pacs2bids. Run `source .venv/bin/activate` (after `make`)"
    )

if len(workflow.configfiles) > 1 or workflow.config_settings.config:
    stop(
        "one configuration file holds everything: give one --configfile, and no --config"
    )
CONFIG_FILE = Path(workflow.configfiles[0] if workflow.configfiles else "config.yaml")
try:
    CONFIG = load_config(CONFIG_FILE)
    require_files(CONFIG, CONFIG_FILE)
except Pacs2BidsError as error:
    stop(error)

WORK, BIDS, REPORT = CONFIG.workdir, CONFIG.bids, CONFIG.report
LOGS = WORK / "logs"
# they change with the sources of the stages, so that what older ones made is made again
ENGINE, NAMING, DELIVERY = engine_version(), naming_version(), delivery_version()
# not the bare name: a snakemake that was called by its path has no pacs2bids on PATH
PACS2BIDS = f"{sys.executable} -m pacs2bids"


wildcard_constraints:
    study=r"[0-9.]+",
    session=r"sub-[A-Za-z0-9]+(_ses-[A-Za-z0-9]+)?",


include: "workflow/rules/query.smk"
include: "workflow/rules/cluster.smk"
include: "workflow/rules/pull.smk"
include: "workflow/rules/index.smk"
include: "workflow/rules/reconstruct.smk"
include: "workflow/rules/opinion.smk"
include: "workflow/rules/plan.smk"
include: "workflow/rules/place.smk"
include: "workflow/rules/dataset.smk"
include: "workflow/rules/check.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/hooks.smk"


rule all:
    default_target: True
    input:
        REPORT,
        rules.verdict.output,
        # all else is made on the way to these; what was made, and is gone since, is asked for
        missing(of_every_study(str(WORK / "studies/{study}/receipt.json"))),
        missing(of_every_study(str(WORK / "studies/{study}/index.json"))),
        missing(of_every_study(str(WORK / "studies/{study}/volumes/manifest.json"))),
        missing(of_each_session(str(WORK / "sessions/{session}/plan.tsv"))),
        missing(of_each_session(str(WORK / "sessions/{session}/placed.json"))),
        missing(opinions),
        missing(lambda wildcards: [*rules.dataset.output, *rules.check.output]),
