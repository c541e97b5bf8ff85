"""Time what a person waits for before anything happens: imports and the command line's help.

Each is a fresh process; they take turns, so that a change of the machine's speed meets all of them. The seconds of each
round go to ``startup.json``; printed are medians, as ratios to the import of the libraries that every program of this
kind imports.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import records

LIBRARIES = "torch, torchvision, pyro, matplotlib"
CONTENDERS = {
    f"import {LIBRARIES}": ["-c", f"import {LIBRARIES}"],
    "import torch": ["-c", "import torch"],
    "import pyrovae": ["-c", "import pyrovae"],
    "pyrovae --version": ["-m", "pyrovae", "--version"],
    "pyrovae --help": ["-m", "pyrovae", "--help"],
    "pyrovae train --help": ["-m", "pyrovae", "train", "--help"],
    "pyrovae train --epochs many": ["-m", "pyrovae", "train", "--epochs", "many"],
}


def slowest_imports(code: str, count: int) -> list[tuple[float, str]]:
    """Return the top-level packages that take longest to import, in seconds of their own, as ``-X importtime`` says."""
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True)
    seconds: dict[str, float] = {}
    for line in done.stderr.splitlines():
        own, _, rest = line.removeprefix("import time:").partition("|")
        if own.strip().isdigit():
            package = rest.partition("|")[2].strip().partition(".")[0]
            seconds[package] = seconds.get(package, 0.0) + int(own) / 1e6
    return sorted(((time, package) for package, time in seconds.items()), reverse=True)[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="at least 1; one more is not counted")
    parser.add_argument("--out", default=records.FOLDER, help="folder of the results")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for i in range(options.rounds + 1):  # the first reads the disk
        print(f"round {i} of {options.rounds}", file=sys.stderr)
        for name, arguments in CONTENDERS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], capture_output=True)
            seconds[name].append(time.perf_counter() - start)
    seconds = {name: times[1:] for name, times in seconds.items()}
    records.keep(options.out, "startup", {}, {"seconds": seconds})
    reference = seconds[f"import {LIBRARIES}"]
    for name, times in seconds.items():
        ratios = [time / against for time, against in zip(times, reference, strict=True)]
        print(f"{name:45} {statistics.median(times):5.2f} s, {statistics.median(ratios):.2f} x the libraries")
    print("import pyrovae, its slowest packages:")
    for own, package in slowest_imports("import pyrovae", 8):
        print(f"  {package:20} {own:6.3f} s")


if __name__ == "__main__":
    main()
