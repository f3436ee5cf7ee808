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
    shell:
        "{PACS2BIDS} index {WORK:q}/studies/{wildcards.study} --log {log:q}"
