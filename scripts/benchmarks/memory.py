"""Measure the memory of training and evaluation on a memory-mapped array, as the number of its images grows.

Each figure is the peak of one fresh process's anonymous memory (what Linux calls RssAnon, looked at every 5 ms), less
what it held after the same command on an array of 1,000 images, which has imported everything. Pages of the mapped file
are not in it: they count as resident, but are the system's cache, which it takes back when memory is wanted elsewhere.
The figures go to ``memory.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import records

SMALL = [
    "--latent_dim=8",
    "--posterior.network.hidden_features=[64]",
    "--likelihood.network.hidden_features=[64]",
    "--compile=graph",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_data", type=int, default=10_000, help="of the smallest array; others have more")
    parser.add_argument("--times", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--num_samples", type=int, default=10)
    parser.add_argument("--out", default=records.FOLDER, help="folder of the results")
    words = "measure the last of these pyrovae commands, parted by +, in this process"
    parser.add_argument("--of", nargs=argparse.REMAINDER, help=words)
    options = parser.parse_args()
    if options.of:
        i = options.of.index("+")
        run(options.of[:i])
        print(f"peak {peak(options.of[i + 1 :])}")
        return
    print("| images | bytes on disk | an epoch of training, MB | evaluating half of them, MB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder, "small.npy")
        write(small, 1000)
        for times in options.times:
            N, path = times * options.num_data, Path(folder, f"{times}.npy")
            write(path, N)
            runs = [f"{folder}/small{times}", f"{folder}/run{times}"]
            training = measured(train(small, runs[0]), train(path, runs[1]))
            evaluation = measured(*(["evaluate", run, f"--num_samples={options.num_samples}"] for run in runs))
            results = {"on_disk": path.stat().st_size, "training": training, "evaluation": evaluation}
            records.keep(options.out, "memory", {"num_data": N, "num_samples": options.num_samples}, results)
            print(f"| {N:,} | {path.stat().st_size:,} | {training / 1e6:.1f} | {evaluation / 1e6:.1f} |", flush=True)
            path.unlink()


def write(path: Path, num_data: int) -> None:
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (num_data, 1, 28, 28))
    rng = np.random.default_rng(0)
    for start in range(0, num_data, 1000):
        part = images[start : start + 1000]
        part[:] = rng.integers(0, 256, part.shape, np.uint8)
    images.flush()


def train(path: Path, run: str) -> list[str]:
    data = ["--data=ArrayFile", f"--data.path={path}", "--data.binarization=dynamic", "--data.test_size=0.5"]
    return ["train", *data, "--data.validation_size=100", *SMALL, "--epochs=1", f"--run={run}"]


def measured(first: list[str], then: list[str]) -> int:
    """Return the peak of a command after another in a new process."""
    command = [sys.executable, __file__, "--of", *first, "+", *then]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return int(done.stdout.split()[-1])


def run(arguments: list[str]) -> None:
    """Run a command of pyrovae in this process."""
    from pyrovae.cli import main

    with contextlib.redirect_stdout(sys.stderr):
        status = main(arguments)
    if status != 0:
        raise SystemExit(status)


def peak(arguments: list[str]) -> int:
    """Run a command and return the bytes by which anonymous memory grew at most."""
    highest = before = anonymous()
    done = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.005):
            highest = max(highest, anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run(arguments)
    finally:
        done.set()
        watcher.join()
    return highest - before


def anonymous() -> int:
    """Return the bytes of memory that no file stands behind."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("memory.py reads /proc/self/status, which only Linux has")


if __name__ == "__main__":
    main()
