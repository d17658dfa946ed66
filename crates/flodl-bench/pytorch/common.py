"""What the twins share: threads, optimizers, timing by the same rules as the Rust side."""

import json
import os
import resource
import sys
import time

import torch

torch.set_num_threads(int(os.environ.get("FLODL_BENCH_THREADS", "0")) or torch.get_num_threads())
torch.manual_seed(0)


def optimizer(kind, params, **options):
    """An optimizer by its name; FLODL_BENCH_FUSED=1 asks for the fused kernels."""
    if os.environ.get("FLODL_BENCH_FUSED") == "1":
        options["fused"] = True
    return getattr(torch.optim, kind)(params, **options)


def used():
    """Processor time and page faults of this process so far."""
    return time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def per_run(before, runs):
    """What one of the runs since then used."""
    return [(now - then) / runs for now, then in zip(used(), before)]


def steps(step, count):
    """Samples of a step, and what one uses, after three warm-up steps.

    Takes `count` samples, or with 0 as many as two seconds hold, at least 5.
    """
    for _ in range(3):
        step()
    samples, start, before = [], time.perf_counter(), used()
    while len(samples) < count if count else len(samples) < 5 or time.perf_counter() - start < 2:
        t = time.perf_counter()
        step()
        samples.append(time.perf_counter() - t)
    return samples, per_run(before, len(samples))


def calls(call, budget=0.1):
    """Samples of a short call, and what one uses, in batches of at least 20 µs, after a warm-up."""
    begin, once, warm = time.perf_counter(), float("inf"), 0
    while warm < 2 or (time.perf_counter() - begin < budget / 4 and warm < 10_000):
        t = time.perf_counter()
        call()
        once = min(once, time.perf_counter() - t)
        warm += 1
    batch = int(min(max(20e-6 / max(once, 1e-9), 1), 10_000) + 0.999)
    samples, start, before = [], time.perf_counter(), used()
    count = int(os.environ.get("FLODL_BENCH_STEPS", "0"))
    while (
        len(samples) < count
        if count
        else len(samples) < 5 or (time.perf_counter() - start < budget and len(samples) < 10_000)
    ):
        t = time.perf_counter()
        for _ in range(batch):
            call()
        samples.append((time.perf_counter() - t) / batch)
    return samples, per_run(before, len(samples) * batch)


def forget_peak():
    """Lets the peak of resident memory count from now on, where the system can."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass


def peak_rss():
    """The most memory that was resident since then, in MiB."""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def result(measured):
    samples, (cpu, faults) = measured
    ordered = sorted(samples)
    n = len(ordered)
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return {
        "version": torch.__version__,
        "median_ms": middle * 1e3,
        "min_ms": ordered[0] * 1e3,
        "cpu_ms": cpu * 1e3,
        "peak_rss_mb": peak_rss(),
        "page_faults": faults,
    }


def passes(forward, leaves):
    """Forward alone and with backward; the incoming gradient is a tensor of ones."""
    ones = torch.ones_like(forward())

    def both():
        forward().backward(ones)
        for leaf in leaves:
            leaf.grad = None

    return [forward, both]


def serve(rows):
    """Says that it is ready, then answers each name on stdin with the figures of its passes, one line
    of JSON.

    `rows` maps a name to a function that makes the list of calls to time.
    """
    last, made = None, None
    print("ready", flush=True)
    for line in sys.stdin:
        name = line.rstrip("\n")
        if name not in rows:
            sys.exit(f"no row is called {name}")
        if name != last:
            made = None
            forget_peak()
            last, made = name, rows[name]()
        print(json.dumps([result(calls(call)) for call in made]), flush=True)
