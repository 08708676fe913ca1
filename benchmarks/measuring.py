"""Time and memory: medians of runs in turn, peak memory, measurements in fresh processes."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

FRESH = Path(__file__).with_name("fresh.py")
MIB = 2**20


def seconds(function):
    """Return the seconds that one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def race(functions, repeats):
    """Return the median seconds of each named function; `repeats` is a number or one a name."""
    if isinstance(repeats, int):
        repeats = dict.fromkeys(functions, repeats)
    times = {name: [] for name in functions}
    # In turn, so that a slow spell of the machine hits all of them alike.
    for turn in range(max(repeats.values())):
        for name, function in functions.items():
            if turn < repeats[name]:
                times[name].append(seconds(function))
    return {name: float(np.median(taken)) for name, taken in times.items()}


def seconds_per_call(function, loops=1000, repeats=7):
    """Return the median over repeats of the mean seconds of a short call."""
    taken = [seconds(lambda: [function() for _ in range(loops)]) for _ in range(repeats)]
    return float(np.median(taken)) / loops


def _memory(field):
    """Return a field of this process's memory in bytes (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def resident():
    """Return the memory that this process holds now, in bytes."""
    return _memory("VmRSS:")


def reset_peak():
    """Let the peak start from now: what came before, such as making the data, does not count."""
    Path("/proc/self/clear_refs").write_text("5")


def peak():
    """Return the most memory that this process held since the last reset, in bytes."""
    return _memory("VmHWM:")


def fresh(measurement, environment, python=sys.executable, **arguments):
    """Run a function of fresh.py in a new process; return its result, or None and print why.

    Another interpreter brings its own installation of skmtl.
    """
    if python != sys.executable:
        environment = {k: v for k, v in environment.items() if k != "PYTHONPATH"}
    command = [python, str(FRESH), measurement, json.dumps(arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        print(f"  missing: {measurement} {arguments}: {reason}", flush=True)
        return None
    return json.loads(lines[-1])


def _answer(connection, function, arguments):
    try:
        connection.send((function(*arguments), ""))
    except Exception as error:  # whatever a peer raises is a result
        connection.send((None, f"{type(error).__name__}: {error}"))


def isolated(function, arguments, time_limit):
    """Return what a function returns in a child process, or None, and an error message.

    A child process, since compiled code cannot be interrupted. Forked where possible: the caller
    must not have run parallel code before.
    """
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods else None)
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(sender, function, arguments))
    child.start()
    sender.close()
    try:
        if receiver.poll(time_limit):
            return receiver.recv()
        return None, f"no result within {time_limit:g} s"
    except EOFError:
        child.join()
        return None, f"process died with exit code {child.exitcode}"
    finally:
        child.kill()
        child.join()
