# Writes the top-level files of the dataset: the only writer, so that sessions never race.


localrules:
    dataset,


rule dataset:
    input:
        of_each_session(str(WORK / "sessions/{session}/placed.json")),
    output:
        WORK / "dataset.json",
    log:
        LOGS / "dataset.log",
    params:
        release=RELEASE,
        # a function, as braces in a plain text would be wildcards
        told=lambda wildcards: repr(CONFIG.dataset),
        config=CONFIG_FILE,
        bids=BIDS,
    shell:
        "{PACS2BIDS} dataset --config {params.config:q} --bids {params.bids:q} --out {output:q}"
        " {input:q} --log {log:q}"
