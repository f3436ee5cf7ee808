# Brings one study whole. On this host, which the PACS knows; `--resources pacs=N` studies at a time. Where
# `courtesy.hours` are over, the job waits for them.


localrules:
    pull,


def origin(wildcards):
    """The name of the source that a study comes from.

    A param, so that a study whose source is corrected in the table, and no other, is pulled again. That a PACS
    moved to another address makes nothing untrue that its receipts say.
    """
    _, sources = resolved()
    return sources.get(wildcards.study, "")


rule pull:
    input:
        # a table that gains a study keeps the others
        studies=ancient(WORK / "studies.tsv"),
    output:
        WORK / "studies/{study}/receipt.json",
    log:
        LOGS / "pull/{study}.log",
    # it says itself what is wrong, and has its own patience
    retries: 0
    resources:
        pacs=1,
    params:
        config=CONFIG_FILE,
        origin=origin,
    shell:
        "{PACS2BIDS} pull --config {params.config:q} --studies {input.studies:q}"
        " --study {wildcards.study} --out {WORK:q}/studies/{wildcards.study} --log {log:q}"
