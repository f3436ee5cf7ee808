# Turns the stacks of one study into NIfTI volumes, in parallel. The manifest stands for all of them.


rule reconstruct:
    input:
        rules.index.output,
    output:
        WORK / "studies/{study}/volumes/manifest.json",
    log:
        LOGS / "reconstruct/{study}.log",
    threads: 4
    resources:
        mem_mb=memory("reconstruct"),
        runtime=minutes("reconstruct"),
    params:
        engine=ENGINE,
        gzip=CONFIG.gzip,
        philips=CONFIG.philips_values,
        broken="--allow-failed" if CONFIG.on_broken_series == "skip" else "",
    shell:
        "{PACS2BIDS} reconstruct {WORK:q}/studies/{wildcards.study} -j {threads} --gzip {params.gzip}"
        " --philips-values {params.philips} {params.broken} --log {log:q}"
