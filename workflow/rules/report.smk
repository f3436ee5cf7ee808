# The page to look at.


rule report:
    input:
        rules.check.output,
        rules.dataset.output,
        opinions,
        once_queried,
    output:
        REPORT,
    log:
        LOGS / "report.log",
    threads: 8
    resources:
        mem_mb=memory_of_all,
        runtime=minutes_of_all,
    params:
        version=DELIVERY,
        work=WORK,
        bids=BIDS,
        config=CONFIG_FILE,
        # a function, as braces in a plain text would be wildcards
        privacy=lambda wildcards: repr(CONFIG.privacy),
    shell:
        "{PACS2BIDS} report --workdir {params.work:q} --bids {params.bids:q} --out {output:q}"
        " --config {params.config:q} -j {threads} --log {log:q}"
