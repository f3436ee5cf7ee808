# What jobs ask a cluster for, where they put temporary files, and what a person is told of those that ran there.

# what Snakemake's plugin for Slurm says of itself
PLUGIN = (
    "SLURM run ID",
    "MinJobAge",
    "No SLURM account given",
    "No account was given",
    "Unable to guess SLURM account",
    "Cleaning up SLURM log files",
    "Trying to restart job",
)
SUBMITTED = re.compile(r"Job \S+ has been submitted with SLURM jobid")

if CONFIG.scratch is not None:
    # Snakemake formats it
    shell.prefix(scratch_folder(CONFIG.scratch).replace("{", "{{").replace("}", "}}"))


def receipts(wildcards):
    """Of the study of a job, or of the studies of its session: may be asked for before the query is done."""
    if "study" in wildcards.keys():
        uids = [wildcards.study]
    else:
        uids = sessions_of_table().get(wildcards.session, [])
    return [WORK / "studies" / uid / "receipt.json" for uid in uids]


def memory(stage):
    """A resource function: what a job of this stage needs, by the size of its studies."""
    return lambda wildcards, attempt: memory_mb(
        stage, size_of(receipts(wildcards)), attempt
    )


def minutes(stage):
    """A resource function, as ``memory``."""
    return lambda wildcards, attempt: runtime_min(
        stage, size_of(receipts(wildcards)), attempt
    )


def memory_of_all(wildcards, attempt):
    """A resource function of jobs on the whole dataset."""
    return of_all_mb(len(sessions_of_table()), attempt)


def minutes_of_all(wildcards, attempt):
    """A resource function of jobs on the whole dataset."""
    return of_all_min(len(sessions_of_table()), attempt)


def is_plugins(message):
    """Whether a line is Snakemake's plugin talking of what is said better below, or is no matter for a person."""
    return message.startswith(PLUGIN) or bool(SUBMITTED.match(message))


def is_no_plugins(record):
    return not is_plugins(str(record.msg))


# from the start: the plugin speaks before anything runs
if not logger.isEnabledFor(logging.DEBUG):
    logger.addFilter(is_no_plugins)


def jobs_of(job):
    """The jobs that were submitted as one, in the order of the stages."""
    if not job.is_group():
        return [job]
    order = ("index", "reconstruct", "opinion", "plan", "place")
    return sorted(job.jobs, key=lambda one: order.index(one.rule.name))


def whose(job):
    """What a submission is called: its session, or its rule."""
    keys = {one.wildcards.get("session") or "" for one in jobs_of(job)} - {""}
    return ", ".join(sorted(keys)) or jobs_of(job)[0].rule.name


def messages(job, level):
    """Each warning or error that a submission wrote to its logs in this run, with the log."""
    logs = [Path(log) for one in jobs_of(job) for log in one.log]
    return [
        (text, log)
        for log in logs
        if was_written(log)
        for its_level, text in said(log)
        if its_level == level
    ]


def tell(line):
    print(line, file=sys.stderr, flush=True)


def tell_end(job, number):
    """What a job that ran here would have printed itself."""
    for text, _ in messages(job, "WARNING"):
        tell(f"WARNING: {text}")
    tell(f"{whose(job)}: done (Slurm job {number})")


def tell_failure(job, number, message, output):
    """One line why a submission failed. What a stage refuses it would refuse again, and what a person cancelled
    is to stay so: neither is tried again.
    """
    errors = messages(job, "ERROR")
    reason = why_ended(message, output)
    if errors or reason == CANCELLED:
        job.attempt = job.restart_times + 1
    for text, log in errors:
        tell(f"ERROR: {text} ({log})")
    if errors:
        return
    again = job.attempt <= job.restart_times
    if not again:
        note_end(job, f"{reason} (Slurm job {number})")
    level = "WARNING" if again else "ERROR"
    then = "Trying again, with more" if again else "Run again to go on"
    its = f"Slurm job {number}" if number else "not submitted"
    where = f" ({output})" if output and output.exists() else ""
    tell(f"{level}: {whose(job)}: {reason}; {its}. {then}{where}")


def note_end(job, reason):
    """In the log of the stage that has no result, where report, status and the last lines of a run look."""
    undone = [one for one in jobs_of(job) if not Path(one.output[0]).exists()]
    for one in undone[:1]:
        note(Path(one.log[0]), reason)


def speak_for_the_cluster():
    """Have the executor tell of its jobs in our words. Snakemake itself drops why a group failed (9.27: jobs.py,
    GroupJob.log_error takes ``msg`` and does not pass it on).
    """
    executor = workflow.scheduler._executor
    submitted, succeeded = executor.report_job_submission, executor.report_job_success

    def report_submission(info, **told):
        tell(f"{whose(info.job)}: submitted (Slurm job {info.external_jobid})")
        submitted(info, **told)

    def report_success(info):
        tell_end(info.job, info.external_jobid)
        succeeded(info)

    def print_error(info, msg=None, aux_logs=(), **told):
        output = next((Path(log) for log in aux_logs or () if log), None)
        tell_failure(info.job, info.external_jobid, msg or "", output)

    executor.report_job_submission = report_submission
    executor.report_job_success = report_success
    executor.print_job_error = print_error


def follow_without_accounting():
    """Where Slurm keeps no accounts, `sacct` fails for ever, and Snakemake's plugin, which prefers it, would wait
    without end: `squeue` then. The plugin goes back to sacct where Slurm forgets its jobs early (MinJobAge),
    seen from its first look at them: look early enough.
    """
    settings = workflow.executor_settings
    told = subprocess.run(
        ["scontrol", "show", "config"], capture_output=True, text=True
    )
    values = dict(re.findall(r"^(\w+) += (\S+)", told.stdout, re.MULTILINE))
    if values.get("AccountingStorageType") in ("accounting_storage/none", "(null)"):
        settings.status_command = "squeue"
        age_s = int(values.get("MinJobAge", 300))
        settings.init_seconds_before_status_checks = max(
            1, min(settings.init_seconds_before_status_checks, age_s // 3)
        )


def follow_with_accounting():
    """Of a cancelled job `sacct` tells by whom ("CANCELLED by 1000"); Snakemake's plugin (2.8) knows only the bare
    word, takes all else for a job that runs, and would wait without end: the first word then.
    """
    plugin = sys.modules[type(workflow.scheduler._executor).__module__]
    ask = plugin.query_job_status

    async def ask_for_words(command, log):
        states, duration_s = await ask(command, log)
        if states is None:
            return states, duration_s
        words = {number: state.partition(" ")[0] for number, state in states.items()}
        return words, duration_s

    plugin.query_job_status = ask_for_words


def follow_cluster():
    """Nothing on this machine alone, and nothing within a job of a cluster."""
    if not (workflow.local_exec or workflow.remote_exec):
        if getattr(workflow.executor_settings, "status_command", None) is not None:
            follow_without_accounting()
            follow_with_accounting()
        speak_for_the_cluster()
