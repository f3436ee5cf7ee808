# Reads every header of one study, once; sorts instances into series and stacks.


rule index:
    input:
        rules.pull.output,
    output:
        WORK / "studies/{study}/index.json",
    log:
        LOGS / "index/{study}.log",
    resources:
        mem_mb=memory("index"),
        runtime=minutes("index"),
    params:
        engine=ENGINE,
        folder=lambda wildcards: WORK / "studies" / wildcards.study,
    shell:
        "{PACS2BIDS} index {params.folder:q} --log {log:q}"
