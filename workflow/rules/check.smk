# Validates the dataset. Findings stop nothing until the report that shows them is made: then the verdict.


localrules:
    verdict,


rule check:
    input:
        # it holds a digest of what is placed: a thousand sessions need not be listed here, too
        rules.dataset.output,
        once_queried,
    output:
        WORK / "check.json",
    log:
        LOGS / "check.log",
    resources:
        mem_mb=memory_of_all,
        runtime=minutes_of_all,
    params:
        version=DELIVERY,
        bids=BIDS,
        sessions=WORK / "sessions",
        studies=WORK / "studies.tsv",
        config=CONFIG_FILE,
        # a function, as braces in a plain text would be wildcards
        privacy=lambda wildcards: repr(CONFIG.privacy),
        aside="--allow-set-aside" if CONFIG.on_heuristic_error == "skip" else "",
    shell:
        "{PACS2BIDS} check --bids {params.bids:q} --out {output:q} --no-fail {params.aside}"
        " --sessions {params.sessions:q} --studies {params.studies:q}"
        " --config {params.config:q} --log {log:q}"


rule verdict:
    input:
        once_queried,
        check=rules.check.output,
        report=REPORT,
    output:
        touch(WORK / "valid"),
    log:
        LOGS / "verdict.log",
    retries: 0
    params:
        config=CONFIG_FILE,
        # what people read besides the dataset names no patient either
        pages=[REPORT, REPORT.with_name(f"{REPORT.stem}_files"), LOGS],
        sessions=WORK / "sessions",
        studies=WORK / "studies.tsv",
    shell:
        "{PACS2BIDS} check --verdict {input.check:q} --pages {params.pages:q} --config {params.config:q}"
        " --sessions {params.sessions:q} --studies {params.studies:q} --log {log:q}"
