# What happens around the jobs: one run at a time, readable progress, and a dataset although a session failed.
import signal
import subprocess

lock = {}

# how Snakemake tells that a job failed, and that therefore the run did; the job itself has said why
FAILURE = ("Exiting because a job", "WorkflowError:\nAt least one job did not complete")
# the exit codes with which a stage says why on one line; anything else (a kill) has only Snakemake to tell it.
# Ctrl-C may meet a job before it heeds that
TOLD = re.compile(
    r"returned non-zero exit status (1|2|130)\.|died with <Signals\.SIGINT"
)


def lock_workdir():
    """One run at a time. Unlike Snakemake's own lock (off in the profiles), it ends with a killed run."""
    private_folder(WORK)
    try:
        lock["stream"] = take_turn(WORK)
    except Pacs2BidsError as error:
        stop(error)
    os.environ[RUN] = str(os.getpid())
    lock["since_ns"] = os.fstat(lock["stream"].fileno()).st_mtime_ns


IS_DRY = not {"-n", "-np", "--dry-run", "--dryrun"}.isdisjoint(sys.argv)


def tell_of_dry_run():
    """Before there is a table of studies, Snakemake knows no more than the query, and lists few jobs."""
    if not (WORK / "studies.tsv").exists():
        print(
            "Not queried yet: the jobs of the studies are listed once the query has run",
            file=sys.stderr,
        )


def count_jobs_once():
    """A dry run counts its jobs before and after it lists them, which it does not where they are many (``quiet:
    rules`` in the profile): the same table twice.
    """
    counted_before = []

    def is_first(record):
        if getattr(record, "event", None) == LogEvent.RUN_INFO:
            counted_before.append(record)
            return len(counted_before) == 1
        return True

    logger.addFilter(is_first)


if IS_DRY:
    tell_of_dry_run()
    quiet = workflow.output_settings.quiet or ()  # None without a profile
    if Quietness.RULES in quiet:
        count_jobs_once()


def is_news(record):
    """Each job prints one line of result; that it was selected, started and ended is not said besides."""
    event, message = getattr(record, "event", None), str(record.msg)
    return not (
        (interrupted and event == LogEvent.ERROR)
        or event in (LogEvent.JOB_STARTED, LogEvent.JOB_FINISHED)
        or message == "Select jobs to execute..."
        or message.startswith(FAILURE)
        or (
            event == LogEvent.ERROR
            and record.exception == "RuleException"
            and TOLD.search(message)
        )
    )


def stop_gracefully():
    """SIGTERM lets the running jobs end, as Snakemake does it; that is an interruption, too, and no failure."""
    snakemakes = signal.getsignal(signal.SIGTERM)

    def terminate(number, frame):
        interrupted.append(number)
        print("Interrupted: the running jobs are waited for", file=sys.stderr)
        snakemakes(number, frame)

    signal.signal(signal.SIGTERM, terminate)


def was_written(path):
    """By this run."""
    return path.exists() and path.stat().st_mtime_ns >= lock["since_ns"]


def is_failed(key, studies):
    """Whether a session is not placed, or placed by an earlier run and something of it failed now."""
    made = [WORK / "sessions" / key / name for name in ("plan.tsv", "placed.json")]
    for study in studies:
        names = ("receipt.json", "index.json", "volumes/manifest.json")
        made += [WORK / "studies" / study / name for name in names]
    return not all(path.exists() for path in made)


def deliver(studies):
    """Top-level files and check, of the sessions that are placed."""
    good = sum(not is_failed(key, uids) for key, uids in studies.items())
    print(
        f"The dataset is made of what there is, {good} of {counted(len(studies), 'session')}:",
        file=sys.stderr,
    )
    table = ["--sessions", WORK / "sessions", "--studies", WORK / "studies.tsv"]
    told = ["--bids", BIDS, *table, "--partial"]
    if pacs2bids(
        "dataset", "--config", CONFIG_FILE, "--out", rules.dataset.output[0], *told
    ):
        check = ["--config", CONFIG_FILE, "--out", rules.check.output[0], "--no-fail"]
        pacs2bids("check", *check, *told)


def pacs2bids(verb, *options):
    """Run a verb; whether it succeeded."""
    log = ["--log", LOGS / f"{verb}.log"]
    command = [sys.executable, "-m", "pacs2bids", verb, *options, *log]
    return not subprocess.run(command).returncode


def deliver_what_is_placed():
    """A failed session keeps no other from being delivered: top-level files, check and report without it."""
    made, checked, valid = (
        Path(path)
        for path in (*rules.dataset.output, *rules.check.output, *rules.verdict.output)
    )
    page = ["report", "--workdir", WORK, "--bids", BIDS, "--out", REPORT]
    page += ["--config", CONFIG_FILE]
    if was_written(
        Path(rules.dataset.log[0])
    ):  # it failed itself, or what comes after it
        if not made.exists():
            checked.unlink(missing_ok=True)
        if not was_written(REPORT):
            pacs2bids(*page)
        return
    # all is made, and nothing failed but the verdict
    if was_written(Path(rules.verdict.log[0])):
        return
    studies = sessions_of_table()
    if any((WORK / "sessions" / key / "placed.json").exists() for key in studies):
        deliver(studies)
    pacs2bids(*page)
    # the next run makes them anew: Snakemake knows nothing of these
    if checked.exists():
        checked.replace(WORK / PROVISIONAL)
    for provisional in (made, valid):
        provisional.unlink(missing_ok=True)


def have_check_repeated():
    """By the next run, where the validator gave no result: what it would check may not change any more."""
    checked = Path(rules.check.output[0])
    if checked.exists() and is_to_be_repeated(checked):
        checked.replace(WORK / PROVISIONAL)


def conclude():
    """The last lines of a run: who needs a person. And the messages that the configuration asks for."""
    command = [sys.executable, "-m", "pacs2bids", "conclude", "--config", CONFIG_FILE]
    subprocess.run(command, stdout=sys.stderr)


def forget_provisional():
    """What an earlier run that failed left instead of a check."""
    provisional = WORK / PROVISIONAL
    provisional.unlink(missing_ok=True)


def collect_garbage():
    """From now on, but not among what is there."""
    gc.freeze()
    gc.set_threshold(100_000)
    gc.enable()


def forget_default_limit():
    """Snakemake's default, 100 new jobs a second, is no limit here, but each job that ends under one leaves a
    timer behind that has all waiting jobs looked at again, every second to the end of the run: after 200 jobs
    that fills a core (measured with 9.27: job_scheduler.py, _schedule_reevalutation).
    """
    limit = getattr(workflow.scheduling_settings, "max_jobs_per_timespan", None)
    if limit and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


onstart:
    lock_workdir()
    collect_garbage()
    stop_gracefully()
    forget_default_limit()
    follow_cluster()
    if not workflow.remote_exec and not logger.isEnabledFor(logging.DEBUG):
        logger.addFilter(is_news)


onsuccess:
    forget_provisional()
    conclude()


onerror:
    ask_again()
    if interrupted:
        sys.exit(128 + interrupted[0])
    deliver_what_is_placed()
    have_check_repeated()
    conclude()
    if REPORT.exists():
        print(
            f"Not everything succeeded: see the errors above, {LOGS} and {REPORT}",
            file=sys.stderr,
        )
