# What jobs ask a cluster for, where they put temporary files, and what a person is told of those that ran there.

# what Snakemake and its plugins for batch systems say of themselves
PLUGIN = (
    "Falling back to 'sacct'",
    "Submitted group job",
    "Submitted job",
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
    # written at once: jobs are submitted and end in several threads, and without a buffer (PYTHONUNBUFFERED)
    # print writes the end of the line by itself
    print(f"{line}\n", end="", file=sys.stderr, flush=True)


def is_slurm():
    """Of all batch systems."""
    return workflow.executor_plugin.name == "slurm"


def named(number):
    """What a submission is called in the batch system."""
    return f"Slurm job {number}" if is_slurm() else f"job {number}"


def tell_end(job, number):
    """What a job that ran here would have printed itself."""
    for text, _ in messages(job, "WARNING"):
        tell(f"WARNING: {text}")
    tell(f"{whose(job)}: done ({named(number)})")


def not_again(job):
    """What a stage refuses it would refuse again, so would Slurm, and what a person cancelled is to stay so."""
    job.attempt = job.restart_times + 1


def tell_failure(job, number, message, output):
    """One line why a submission failed, that says what to do."""
    word = last_words.get(number, "")
    ended = ended_by_slurm(word, output)
    errors = [] if ended else messages(job, "ERROR")
    for text, log in errors:
        tell(f"ERROR: {text} ({log})")
    if errors:
        not_again(job)
        return
    refusal = why_refused(message)
    reason = refusal or ended or why_ended(word, output)
    then = "Run again to go on"
    if refusal and not is_busy(refusal):
        not_again(job)
        then = "Mend account, partition, cores or sizes in the profile, and run again"
    if reason == CANCELLED:
        not_again(job)
    if not refusal:
        reason += f"; {named(number)}"
    where = f" ({output})" if output and output.exists() else ""
    tell_of_cluster(job, reason, then, where)


def tell_of_cluster(job, reason, then, where):
    """One line of what the cluster did, not a stage, and what a person is to do about it."""
    if job.attempt <= job.restart_times:
        tell(f"WARNING: {whose(job)}: {reason}. Trying again, with more{where}")
        forget_errors(job)
    else:
        note_end(job, reason)
        tell(f"ERROR: {whose(job)}: {reason}. {then}{where}")


def forget_errors(job):
    """Of a stage that was cut short: the next attempt need not come so far, and they are none of its own."""
    for log in logs_with_errors(job):
        log.unlink(missing_ok=True)


def note_end(job, reason):
    """In the log of the stage that was cut short, or has no result: where report, status and the last lines of a
    run look. If each has one, of the last stage: Snakemake takes all of them away.
    """
    stages = jobs_of(job)
    undone = [one for one in stages if not Path(one.output[0]).exists()]
    first_undone = Path((undone or stages[-1:])[0].log[0])
    for log in logs_with_errors(job) or [first_undone]:
        note(log, reason)


def logs_with_errors(job):
    """Each once."""
    return list(dict.fromkeys(log for _, log in messages(job, "ERROR")))


# the jobs that the batch system has of this run, by their numbers there, and its last words for them
awaited, last_words = {}, {}


def speak_for_the_cluster():
    """Have the executor tell of its jobs in our words. Snakemake itself drops why a group failed (9.27: jobs.py,
    GroupJob.log_error takes ``msg`` and does not pass it on).
    """
    executor = workflow.scheduler._executor
    submitted, succeeded = executor.report_job_submission, executor.report_job_success

    def report_submission(info, **told):
        tell(f"{whose(info.job)}: submitted ({named(info.external_jobid)})")
        awaited[info.external_jobid] = info.job
        submitted(info, **told)

    def report_success(info):
        awaited.pop(info.external_jobid, None)
        tell_end(info.job, info.external_jobid)
        succeeded(info)

    def print_error(info, msg=None, aux_logs=(), **told):
        output = next((Path(log) for log in aux_logs or () if log), None)
        awaited.pop(info.external_jobid, None)
        tell_failure(info.job, info.external_jobid, msg or "", output)

    executor.report_job_submission = report_submission
    executor.report_job_success = report_success
    executor.print_job_error = print_error


def follow_without_accounting():
    """Where Slurm keeps no accounts, `sacct` fails for ever, and Snakemake's plugin, which prefers it, would wait
    without end: `squeue` then. The plugin goes back to sacct where Slurm forgets its jobs early (MinJobAge),
    seen from its first look at them: look early enough. (Where no look is early enough, `follow_to_the_end`.)
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


def follow_to_the_end():
    """Snakemake's plugin (2.8) takes a word that it does not know for a job that runs, and waits without end: for
    one that a person cancelled ("CANCELLED by 1000", with accounts), that another took the place of, whose node
    died for good, or that Slurm has forgotten. It gets words that it knows. Of jobs of which nobody could tell at
    all, as the controller restarts, it lets go (check_active_jobs yields none): they wait.
    """
    executor = workflow.scheduler._executor
    plugin = sys.modules[type(executor).__module__]
    ask = plugin.query_job_status
    by_queue = plugin.query_job_status_squeue(executor.run_uuid)
    only_queue = workflow.executor_settings.status_command == "squeue"

    missed = Counter()

    async def ask_to_the_end(command, log):
        jobs = dict(awaited)
        states, duration_s = await ask(by_queue if only_queue else command, log)
        if states is None:
            return dict.fromkeys(jobs, "PENDING"), 0.0
        words = {number: state.partition(" ")[0] for number, state in states.items()}
        unclear = [number for number in jobs if not is_clear(words.get(number))]
        if unclear:
            queue, _ = await ask(by_queue, log)
            for number in unclear:
                # if nobody answers: asked again later
                words[number] = (
                    "PENDING"
                    if queue is None
                    else settled(words.get(number), queued(number, queue))
                )
        last_words.update(words)
        for number in unclear:
            missed[number] = missed[number] + 1 if words[number] == GONE else 0
            words[number] = for_plugin(
                words[number],
                is_done=has_results(jobs[number]),
                missed=missed[number],
            )
        return words, duration_s

    plugin.query_job_status = ask_to_the_end


def look_often():
    """Snakemake's plugin looks after jobs the less often the longer none ends, at last each 3 minutes, whatever
    `seconds-between-status-checks` says: let it be the longest time.
    """
    executor = workflow.scheduler._executor
    longest_s = workflow.remote_execution_settings.seconds_between_status_checks

    async def sleep():
        await asyncio.sleep(min(longest_s, executor.next_seconds_between_status_checks))

    executor.sleep = sleep


def has_results(job):
    """Whether all of a submission was written in this run."""
    return all(was_written(Path(path)) for one in jobs_of(job) for path in one.output)


def follow_cluster():
    """Nothing on this machine alone, and nothing within a job of a cluster."""
    if not (workflow.local_exec or workflow.remote_exec):
        if is_slurm():
            follow_without_accounting()
            follow_to_the_end()
            look_often()
        speak_for_the_cluster()
