# Which studies, and whose: the one checkpoint. Everything after it depends on the table it writes.


# on this host, which the PACS knows
localrules:
    query,


def tables():
    """The tables by hand that say which studies, or whose."""
    labels = {rule.table for rule in label_rules(CONFIG)}
    return sorted(table for table in {CONFIG.table, *labels} if table is not None)


checkpoint query:
    input:
        tables(),
    output:
        # a query goes on from the table that stands there: its rows keep their places
        update(WORK / "studies.tsv"),
    log:
        LOGS / "query.log",
    # it says itself what is wrong, and has its own patience
    retries: 0
    params:
        # a function, as braces in a plain text (a pattern's "[0-9]{6}") would be wildcards
        asked=lambda wildcards: repr((CONFIG.table, CONFIG.queries, addresses())),
        config=CONFIG_FILE,
    shell:
        "{PACS2BIDS} query --config {params.config:q} --out {output:q} --log {log:q}"


def ask_again():
    """Snakemake puts the table of an earlier query back for one that failed, as new as if it had succeeded: mark
    it as what a killed run leaves, so that the next run asks again, and nothing is taken for up to date.
    """
    for job in workflow.dag.jobs:
        if (
            job.rule.name == "query"
            and workflow.dag.needrun(job)
            and not workflow.dag.finished(job)
        ):
            workflow.persistence.started(job)


def addresses():
    """Of the sources that are asked; another address may be another archive."""
    return sorted({str(CONFIG.sources[query.source]) for query in CONFIG.queries})


@lru_cache(maxsize=1)
def table_at(path, mtime_ns):
    """The studies of the resolved table: session -> studies, and study -> source.

    Read once for each state of the table: of a thousand sessions, five thousand jobs ask.
    """
    sessions, sources = {}, {}
    for row in read_tsv(path):
        key = session_key(row["subject"], row["session"])
        sessions.setdefault(key, []).append(row["study_instance_uid"])
        sources[row["study_instance_uid"]] = row["source"]
    return sessions, sources


def resolved():
    """``table_at`` of now; Snakemake waits for the checkpoint and asks again."""
    path = Path(checkpoints.query.get().output[0])
    return table_at(path, path.stat().st_mtime_ns)


def sessions_of_table():
    """Session key -> its studies, by the table as it stands, resolved or not; none where there is none."""
    path = WORK / "studies.tsv"
    return table_at(path, path.stat().st_mtime_ns)[0] if path.exists() else {}


def of_each_session(pattern):
    """An input function: ``pattern`` for each session of the table."""

    def paths(wildcards):
        sessions, _ = resolved()
        return sorted(pattern.format(session=key) for key in sessions)

    return paths


def of_every_study(pattern):
    """An input function: ``pattern`` for each study of the table."""

    def paths(wildcards):
        _, sources = resolved()
        return sorted(pattern.format(study=uid) for uid in sources)

    return paths


def of_each_study(pattern):
    """An input function: ``pattern`` for each study of the session of a job."""

    def paths(wildcards):
        sessions, _ = resolved()
        return [
            pattern.format(study=uid) for uid in sessions.get(wildcards.session, ())
        ]

    return paths


def once_queried(wildcards):
    """An input function without files. What comes after a job that waits for the query is to run, too, and stays
    so although that job turns out to be up to date (Snakemake 9.27: dag.py keeps the reasons of a job), unless it
    waits for the query itself and is thus looked at anew.
    """
    resolved()
    return []


def missing(paths_of):
    """An input function: what is not there of the paths of another.

    Snakemake deletes what a failed job wrote before, and does not miss it while later products are there, unless
    it is asked for. To ask for what is there, too, costs seconds with a thousand sessions: before a job starts,
    Snakemake (9.27: jobs.py, is_pipe_or_service_input) looks for each of its inputs among those of all jobs before.
    """

    def paths(wildcards):
        return [path for path in paths_of(wildcards) if not os.path.exists(path)]

    return paths
