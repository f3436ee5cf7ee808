# Asks the heuristic for the names of one session. Reads no pixels: an edit costs seconds.


def labels(wildcards):
    """ "sub-01_ses-a" as options of the command line."""
    subject, _, session = wildcards.session.removeprefix("sub-").partition("_ses-")
    return f"--subject {subject}" + (f" --session {session}" if session else "")


@cache
def heuristic_files():
    """The heuristic and what it imports from its folder; not read before jobs ask for it."""
    return files_of(CONFIG.heuristic)


rule plan:
    input:
        heuristic=lambda wildcards: heuristic_files(),
        indexes=of_each_study(str(WORK / "studies/{study}/index.json")),
    output:
        WORK / "sessions/{session}/plan.tsv",
    log:
        LOGS / "plan/{session}.log",
    resources:
        mem_mb=memory("plan"),
        runtime=minutes("plan"),
    params:
        version=NAMING,
        heuristic=CONFIG.heuristic,
        choices=f"--seqinfo {CONFIG.seqinfo} --fieldmaps {CONFIG.fieldmaps} --events {CONFIG.events}"
        + (
            f" --fieldmap-shims {CONFIG.fieldmap_shims}"
            if CONFIG.fieldmap_shims != "same"
            else ""
        ),
        labels=labels,
        naming=f"--short-runs {CONFIG.naming.short_runs} --computed-maps {CONFIG.naming.computed_maps}"
        + (" --runs by_time" if CONFIG.naming.runs == "several" else ""),
        studies=lambda wildcards, input: [Path(index).parent for index in input.indexes],
    shell:
        "{PACS2BIDS} plan --heuristic {params.heuristic:q} {params.labels} {params.naming} {params.choices}"
        " --out {WORK:q}/sessions/{wildcards.session} {params.studies:q} --log {log:q}"
