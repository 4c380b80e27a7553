"""How the workers of a fit share this machine's cores, where a person should know of it."""

from rapidfire_cli.view.wording import counted

IDLE = 4  # cores for each one in use: from here on it is worth a line (assumed)


def advice(cores: int, workers: int, threads: int, chosen: bool) -> str:
    """A line about workers of so many threads, `chosen` or by default; empty where there is nothing to say.

    Threads that wait for a core spin: 2 workers with 2 threads each took 3 to 7 times as long on 2 cores.
    """
    used = workers * threads
    if used > cores:
        fewer = f"--threads {max(1, cores // workers)}" if threads > 1 else f"--workers {cores}"
        each = f" with {counted(threads, 'thread')} each" if threads > 1 else ""
        slower = "training can be several times slower" if threads > 1 else "they slow each other down"
        machine = counted(cores, "core")
        return f"warning: {counted(workers, 'worker')}{each} on {machine}: {slower}; use `{fewer}`"
    if not chosen and used * IDLE <= cores:
        more = f"`--threads {cores // workers}` uses all (a run's bits depend on its threads)"
        return (
            f"note: {counted(workers, 'worker')} with {counted(threads, 'thread')} on {cores} cores; {more}"
        )
    return ""
