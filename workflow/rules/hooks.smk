# What happens around the jobs: one run at a time, readable progress, and a dataset although a session failed.
import subprocess

lock = {}


def lock_workdir():
    """One run at a time. Unlike Snakemake's own lock (off in the profiles), it ends with a killed run."""
    WORK.mkdir(parents=True, exist_ok=True)
    lock["stream"] = (WORK / ".lock").open("w")
    try:
        fcntl.flock(lock["stream"], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stop(f"another snakemake is at work on {WORK}. Wait for it, or stop it")
    # by the clock of the file system, as it dates all that this run writes
    os.utime(lock["stream"].fileno())
    lock["since_ns"] = os.fstat(lock["stream"].fileno()).st_mtime_ns


def is_news(record):
    """Each job prints one line of result; that it was selected, started and ended is not said besides."""
    silent = (LogEvent.JOB_STARTED, LogEvent.JOB_FINISHED)
    return (
        getattr(record, "event", None) not in silent
        and record.msg != "Select jobs to execute..."
    )


def deliver_what_is_placed():
    """A failed session keeps no other from being delivered: top-level files, check and report without it."""
    tried = Path(rules.dataset.log[0])
    if tried.exists() and tried.stat().st_mtime_ns >= lock["since_ns"]:
        return  # it was the dataset itself that failed, or what comes after it
    made, checked, valid = (
        Path(path)
        for path in (*rules.dataset.output, *rules.check.output, *rules.verdict.output)
    )
    table = WORK / "studies.tsv"
    keys = (
        sorted({session_key(row) for row in read_tsv(table)}) if table.exists() else []
    )
    placed = [
        path
        for key in keys
        if (path := WORK / "sessions" / key / "placed.json").exists()
    ]
    if not placed or (
        made.exists()
        and all(made.stat().st_mtime_ns > path.stat().st_mtime_ns for path in placed)
    ):
        return
    print(
        f"The dataset is made of what there is, {len(placed)} of {len(keys)} sessions:",
        file=sys.stderr,
    )
    for verb, options in {
        "dataset": ["--config", CONFIG_FILE, "--bids", BIDS, "--out", made, *placed],
        "check": ["--bids", BIDS, "--out", checked, "--no-fail", *placed],
        "report": ["--workdir", WORK, "--bids", BIDS, "--out", REPORT],
    }.items():
        log = ["--log", LOGS / f"{verb}.log"]
        if subprocess.run(
            [sys.executable, "-m", "pacs2bids", verb, *options, *log]
        ).returncode:
            break
    # the next run makes them anew: Snakemake knows nothing of these
    for provisional in (made, checked, valid):
        provisional.unlink(missing_ok=True)


onstart:
    lock_workdir()
    if not workflow.remote_exec and not logger.isEnabledFor(logging.DEBUG):
        logger.addFilter(is_news)


onerror:
    deliver_what_is_placed()
    if REPORT.exists():
        print(
            f"Not everything succeeded: see the errors above, {LOGS} and {REPORT}",
            file=sys.stderr,
        )
