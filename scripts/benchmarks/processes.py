"""Time an epoch of training and an evaluation by numbers of processes and threads, which take turns round by round.

Epochs are those of ``metrics.csv`` without the first, so that starting Python and compilation do not count; what is
printed are medians over all rounds, and ratios of the medians to the first way.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from architectures import ARCHITECTURES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=None, help="folder that holds MNIST; without it, 20,000 images of noise")
    parser.add_argument("--architecture", choices=["A", "B"], default="B")
    parser.add_argument(
        "--ways", type=way, nargs="+", default=[(1, 1), (1, 2), (2, 1)], help="PROCESSESxTHREADS, threads for each"
    )
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[128, 512, 2048])
    parser.add_argument("--epochs", type=int, default=4, help="of each round; the first does not count")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num_data", type=int, default=400, help="to evaluate with 5,000 samples each; 0 for none")
    parser.add_argument("--compile", default="graph")
    options = parser.parse_args()

    seconds: dict[str, dict[tuple[int, int], list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = data_of(options.root, Path(folder))
        for round_number in range(options.rounds):
            for batch_size in options.batch_sizes:
                for processes, threads in options.ways:
                    run = Path(folder) / f"{round_number}-{batch_size}-{processes}x{threads}"
                    train(run, (processes, threads), batch_size, data, options)
                    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
                        epochs = [float(row["seconds"]) for row in csv.DictReader(file)]
                    name = f"an epoch, batch of {batch_size}"
                    seconds.setdefault(name, {}).setdefault((processes, threads), []).extend(epochs[1:])
            for processes, threads in options.ways if options.num_data else []:
                run = Path(folder) / f"{round_number}-{options.batch_sizes[0]}-{processes}x{threads}"
                launch((processes, threads), ["evaluate", str(run), "--num_data", str(options.num_data)])
                (written,) = (run / "evaluation").glob("*.json")
                name = f"IWAE-5000 of {options.num_data} images"
                found = seconds.setdefault(name, {}).setdefault((processes, threads), [])
                found.append(json.loads(written.read_text(encoding="utf-8"))["seconds"])
            print(f"round {round_number + 1} of {options.rounds}", file=sys.stderr)
    for name, times in seconds.items():
        medians = {a_way: statistics.median(found) for a_way, found in times.items()}
        first = medians[options.ways[0]]
        for (processes, threads), median in medians.items():
            print(f"{name:32} {processes} x {threads}: {median:7.3f} s, x {median / first:.2f}")


def way(text: str) -> tuple[int, int]:
    """Return the number of processes, and of threads of each, of ``2x1``."""
    processes, _, threads = text.partition("x")
    return int(processes), int(threads)


def data_of(root: str | None, folder: Path) -> list[str]:
    if root is not None:
        return ["--data", "MNIST", "--data.root", root]
    images = np.random.default_rng(0).integers(0, 256, (20_000, 1, 28, 28), dtype=np.uint8)
    np.savez(folder / "images.npz", images=images)
    return ["--data", "ArrayFile", "--data.path", str(folder / "images.npz"), "--data.binarization", "dynamic"]


def train(run: Path, a_way: tuple[int, int], batch_size: int, data: list[str], options: argparse.Namespace) -> None:
    architecture = ARCHITECTURES[options.architecture]
    networks = [
        word
        for part in ("posterior", "likelihood")
        for word in (
            f"--{part}.network.hidden_features",
            str(list(architecture.hidden_features)),
            f"--{part}.network.activation",
            f"torch.nn.{architecture.activation.__name__}",
        )
    ]
    numbers = {"latent_dim": architecture.latent_dim, "batch_size": batch_size, "epochs": options.epochs}
    words = [word for name, number in numbers.items() for word in (f"--{name}", str(number))]
    launch(a_way, ["train", *data, *networks, *words, "--compile", options.compile, "--run", str(run)])


def launch(a_way: tuple[int, int], words: list[str]) -> None:
    processes, threads = a_way
    python = [sys.executable, "-m"]
    torchrun = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [*python, *torchrun, "pyrovae", "--", *words] if processes > 1 else [*python, "pyrovae", *words]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode != 0:
        sys.exit(ended.stderr)


if __name__ == "__main__":
    main()
