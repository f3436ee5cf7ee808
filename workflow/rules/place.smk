# Puts the volumes of one session into the BIDS tree under the planned names.


rule place:
    input:
        rules.plan.output,
        of_each_study(str(WORK / "studies/{study}/volumes/manifest.json")),
    output:
        WORK / "sessions/{session}/placed.json",
    log:
        LOGS / "place/{session}.log",
    resources:
        mem_mb=memory("place"),
        runtime=minutes("place"),
    params:
        version=NAMING,
        bids=BIDS,
        dates=CONFIG.dates,
        config=CONFIG_FILE,
        # a function, as braces in a plain text would be wildcards
        privacy=lambda wildcards: repr((CONFIG.privacy, CONFIG.deface)),
        studies=WORK / "studies",
    shell:
        "{PACS2BIDS} place --session-dir {WORK:q}/sessions/{wildcards.session} --studies-dir {params.studies:q}"
        " --bids {params.bids:q} --dates {params.dates} --config {params.config:q} --log {log:q}"
