# Brings one study whole. On this host, which the PACS knows; `--resources pacs=N` studies at a time.


localrules:
    pull,


rule pull:
    input:
        # a table that gains a study keeps the others
        studies=ancient(WORK / "studies.tsv"),
    output:
        WORK / "studies/{study}/receipt.json",
    log:
        LOGS / "pull/{study}.log",
    resources:
        pacs=1,
    params:
        config=CONFIG_FILE,
        folder=lambda wildcards: WORK / "studies" / wildcards.study,
    shell:
        "{PACS2BIDS} pull --config {params.config:q} --studies {input.studies:q}"
        " --study {wildcards.study} --out {params.folder:q} --log {log:q}"
