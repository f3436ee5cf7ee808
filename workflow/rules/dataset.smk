# Writes the top-level files of the dataset: the only writer, so that sessions never race.


localrules:
    dataset,


def told_of_participants():
    """The table of participants that the configuration names, and its description if there is one."""
    if CONFIG.participants is None:
        return []
    about = CONFIG.participants.with_suffix(".json")
    return [CONFIG.participants, *([about] if about.exists() else [])]


rule dataset:
    input:
        told_of_participants(),
        lambda wildcards: files_that_say(CONFIG.heuristic, "DEFAULT_FIELDS"),
        of_each_session(str(WORK / "sessions/{session}/placed.json")),
    output:
        WORK / "dataset.json",
    log:
        LOGS / "dataset.log",
    retries: 0
    params:
        version=DELIVERY,
        # a function, as braces in a plain text would be wildcards
        told=lambda wildcards: repr(CONFIG.dataset),
        config=CONFIG_FILE,
        bids=BIDS,
        # not the paths themselves: of many sessions they are too long for a command line
        sessions=WORK / "sessions",
        studies=WORK / "studies.tsv",
    shell:
        "{PACS2BIDS} dataset --config {params.config:q} --bids {params.bids:q} --out {output:q}"
        " --sessions {params.sessions:q} --studies {params.studies:q} --log {log:q}"
