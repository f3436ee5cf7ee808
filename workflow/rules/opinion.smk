# Opt-in: dcm2niix makes its own volumes of the same files, and each is compared with ours. The table is advice.


def opinions(wildcards):
    """An input function: the tables of all studies, where the configuration asks for a second opinion."""
    if CONFIG.second_opinion == "none":
        return []
    return of_every_study(str(WORK / "studies/{study}/second_opinion.tsv"))(wildcards)


rule opinion:
    input:
        rules.index.output,
        rules.reconstruct.output,
    output:
        WORK / "studies/{study}/second_opinion.tsv",
    log:
        LOGS / "opinion/{study}.log",
    resources:
        mem_mb=memory("opinion"),
        runtime=minutes("opinion"),
    shell:
        "{PACS2BIDS} opinion {WORK:q}/studies/{wildcards.study} --log {log:q}"
