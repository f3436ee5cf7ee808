"""Versions of the stages after the engine: digests of their sources, so that a change of them reruns them."""

from __future__ import annotations

from functools import cache

from pacs2bids.engine import digest_of

# what decides a plan and where its volumes go
NAMING = (
    "alike.py",
    "archive.py",
    "bids.py",
    "builtin.py",
    "chunks.py",
    "conditions.py",
    "config.py",
    "config_sources.py",
    "dates.py",
    "deface.py",
    "dialects/*.py",
    "dialects/builtins/*.py",
    "dialects/rules/*.py",
    "doubts.py",
    "edited.py",
    "files.py",
    "filled_in.py",
    "gate.py",
    "identifiers.py",
    "images.py",
    "leaks.py",
    "meant.py",
    "metadata/*.py",
    "model.py",
    "moments.py",
    "naming.py",
    "notes.py",
    "owned.py",
    "peers.py",
    "place.py",
    "plan.py",
    "plan_table.py",
    "plan_text.py",
    "planning.py",
    "released.py",
    "roster.py",
    "runs.py",
    "scans.py",
    "session.py",
    "shape.py",
    "spellings.py",
    "studies_table.py",
    "telling.py",
    "text.py",
    "verbs/_calls.py",
    "verbs/_gate.py",
    "verbs/_placed.py",
    "verbs/_planning.py",
    "verbs/_sessions.py",
    "verbs/place.py",
    "verbs/plan.py",
    "words.py",
    "yaml_text.py",
)
NAMING_LIBRARIES = ("bidsschematools", "msgspec")

# what decides the top-level files, the checks and the report
DELIVERY = (
    "bids.py",
    "builtin.py",
    "check.py",
    "conditions.py",
    "config.py",
    "config_sources.py",
    "dataset.py",
    "dates.py",
    "dialects/*.py",
    "dialects/builtins/*.py",
    "edited.py",
    "engine.py",
    "files.py",
    "gate.py",
    "identifiers.py",
    "images.py",
    "leaks.py",
    "model.py",
    "moments.py",
    "owned.py",
    "peers.py",
    "plan_table.py",
    "released.py",
    "report/*.*",
    "roster.py",
    "schemas/*.json",
    "shape.py",
    "spellings.py",
    "standing.py",
    "studies_table.py",
    "text.py",
    "verbs/_gate.py",
    "verbs/_placed.py",
    "verbs/_workdir.py",
    "verbs/check.py",
    "verbs/dataset.py",
    "verbs/report.py",
    "words.py",
    "yaml_text.py",
)
DELIVERY_LIBRARIES = (
    "bids-validator-deno",
    "isal",
    "jinja2",
    "jsonschema",
    "msgspec",
    "nibabel",
    "numpy",
    "pillow",
)


@cache
def naming_version() -> str:
    """Of plan and place, as ``engine.engine_version``."""
    return digest_of(NAMING, NAMING_LIBRARIES)


@cache
def delivery_version() -> str:
    """Of dataset, check and report, as ``engine.engine_version``."""
    return digest_of(DELIVERY, DELIVERY_LIBRARIES)
