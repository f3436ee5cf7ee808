# Brings one study whole. On this host, which the PACS knows; `--resources pacs=N` studies at a time.


localrules:
    pull,


def origin(wildcards):
    """Where a study comes from: the source's name, and the place that it names now.

    A param, so that a study whose source is corrected, and no other, is pulled again. How we receive is none of
    it.
    """
    names = {row["study_instance_uid"]: row["source"] for row in study_rows()}
    name = names.get(wildcards.study, "")
    source = CONFIG.sources.get(name)
    if hasattr(source, "path"):
        return f"{name}: {source.path}"
    if source is not None:
        return f"{name}: {source.ae_title} at {source.host}:{source.port}"
    return name  # the verb says what is wrong with it


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
        origin=origin,
    shell:
        "{PACS2BIDS} pull --config {params.config:q} --studies {input.studies:q}"
        " --study {wildcards.study} --out {params.folder:q} --log {log:q}"
