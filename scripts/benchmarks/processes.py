"""Time an epoch of training and an evaluation with several layouts of processes and threads, which take turns.

Epochs are those of ``metrics.csv`` without the first, so that starting Python and compilation do not count; what is
printed are medians over all rounds, and ratios of the medians to the first layout.
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
from typing import NamedTuple

import numpy as np
from architectures import ARCHITECTURES


class Layout(NamedTuple):
    """A number of processes, and of threads of each."""

    processes: int
    threads: int

    def __str__(self) -> str:
        return f"{self.processes}x{self.threads}"

    @classmethod
    def parse(cls, text: str) -> Layout:
        """Return the layout of a text such as ``2x1``."""
        processes, _, threads = text.partition("x")
        return cls(int(processes), int(threads))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=None, help="folder that holds MNIST; without it, 20,000 images of noise")
    parser.add_argument("--architecture", choices=["A", "B"], default="B")
    parser.add_argument(
        "--layouts",
        type=Layout.parse,
        nargs="+",
        default=[Layout(1, 1), Layout(1, 2), Layout(2, 1)],
        help="PROCESSESxTHREADS, such as 2x1: two processes with one thread each",
    )
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[128, 512, 2048])
    parser.add_argument("--epochs", type=int, default=4, help="of each round; the first does not count")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num_data", type=int, default=400, help="to evaluate with 5,000 samples each; 0 for none")
    parser.add_argument("--compile", default="graph")
    options = parser.parse_args()

    seconds: dict[str, dict[Layout, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = data_of(options.root, Path(folder))
        for round_number in range(options.rounds):
            for batch_size in options.batch_sizes:
                for layout in options.layouts:
                    run = Path(folder) / f"{round_number}-{batch_size}-{layout}"
                    train(run, layout, batch_size, data, options)
                    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
                        epochs = [float(row["seconds"]) for row in csv.DictReader(file)]
                    name = f"an epoch, batch of {batch_size}"
                    seconds.setdefault(name, {}).setdefault(layout, []).extend(epochs[1:])
            for layout in options.layouts if options.num_data else []:
                run = Path(folder) / f"{round_number}-{options.batch_sizes[0]}-{layout}"
                launch(layout, ["evaluate", str(run), "--num_data", str(options.num_data)])
                (written,) = (run / "evaluation").glob("*.json")
                name = f"IWAE-5000 of {options.num_data} images"
                found = seconds.setdefault(name, {}).setdefault(layout, [])
                found.append(json.loads(written.read_text(encoding="utf-8"))["seconds"])
            print(f"round {round_number + 1} of {options.rounds}", file=sys.stderr)
    for name, times in seconds.items():
        medians = {layout: statistics.median(found) for layout, found in times.items()}
        first = medians[options.layouts[0]]
        for layout, median in medians.items():
            print(f"{name:32} {layout}: {median:7.3f} s, x {median / first:.2f}")


def data_of(root: str | None, folder: Path) -> list[str]:
    if root is not None:
        return ["--data", "MNIST", "--data.root", root]
    images = np.random.default_rng(0).integers(0, 256, (20_000, 1, 28, 28), dtype=np.uint8)
    np.savez(folder / "images.npz", images=images)
    return ["--data", "ArrayFile", "--data.path", str(folder / "images.npz"), "--data.binarization", "dynamic"]


def train(run: Path, layout: Layout, batch_size: int, data: list[str], options: argparse.Namespace) -> None:
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
    launch(layout, ["train", *data, *networks, *words, "--compile", options.compile, "--run", str(run)])


def launch(layout: Layout, words: list[str]) -> None:
    python = [sys.executable, "-m"]
    torchrun = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(layout.processes), "-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(layout.threads)}
    command = [*python, *torchrun, "pyrovae", "--", *words] if layout.processes > 1 else [*python, "pyrovae", *words]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode != 0:
        sys.exit(ended.stderr)


if __name__ == "__main__":
    main()
