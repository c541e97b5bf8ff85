"""What the reproductions of published figures share: runs that go on where they stopped, and results that are kept.

A reproduction trains its runs as ``pyrovae train --resume true`` does, evaluates them as ``pyrovae
evaluate`` does, and keeps what came out as ``NAME.json`` and its learning curves as ``NAME.csv``. What is there
already is not done again, so that a command that was interrupted goes on when it is given again; a folder of runs of
other options is refused. Several commands may train different runs of one reproduction (``--only``); each writes the
record of all that it finds, so that the last one should find all.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
from results import figures, paired

from pyrovae import Annealed, Estimator, Importance, checks
from pyrovae.cli import main as command
from pyrovae.files import write_text
from pyrovae.runs import Run, StoredEvaluation, read_evaluation

POINTS = 30  # of a learning curve that is kept
KEPT = "docs/reproductions"


@dataclass(frozen=True)
class Setting:
    """Hold what all runs of a reproduction share.

    Args:
        root: folder that holds ``MNIST``; without it, scikit-learn's digits stand in for it.
        runs: folder for the runs' folders.
        out: folder for what is kept.
        epochs: of every run, in place of the protocol's.
        threads: of torch.
        seed: of the runs and of their evaluations.
        only: runs to train and evaluate; of the others, what is there already is kept. All if not given.
    """

    root: str | None
    runs: str
    out: str
    epochs: int | None
    threads: int
    seed: int
    only: list[str] | None = None

    def begin(self, *names: str, **counts: int) -> None:
        """Check the options and set torch's threads, as the command line's processes have them.

        Args:
            names: of all runs, of which ``only`` may have some.
            counts: options that must be 2 or more, such as a number of images, for there to be an error.
        """
        checks.seed(self.seed)
        for name, count in counts.items():
            checks.integer(name, count, minimum=2)
        for name in self.only or []:
            checks.choice("only", name, names)
        if self.root is None and Path(self.out).resolve() == Path(KEPT).resolve():
            raise checks.InputError(
                f"root must be the folder that holds MNIST, but none was given; figures of digits need an out besides "
                f"{KEPT}"
            )
        os.makedirs(self.out, exist_ok=True)
        if not os.access(self.out, os.W_OK):
            raise checks.InputError(f"out must be a folder that can be written to, but {self.out} was given")
        torch.set_num_threads(checks.integer("threads", self.threads))

    def data(self, validation_size: int) -> list[str]:
        """Return the words that choose MNIST, binarised at every step, the test set once."""
        if self.root is None:
            return ["--data", "Digits"]
        return ["--data", "MNIST", "--data.root", self.root, "--data.validation_size", str(validation_size)]

    def train(self, name: str, words: Sequence[str], epochs: int) -> Run | None:
        """Train a run by ``pyrovae train``, or go on with it; None if it is neither done nor to be.

        Args:
            name: of its folder.
            words: the options, which a run that is there must have been trained with.
            epochs: of the protocol.
        """
        epochs = self.epochs or epochs
        run = Run(f"{self.runs}/{name}")
        wanted = self.only is None or name in self.only
        if not wanted and not ((run.folder / "metrics.csv").exists() and len(run.history().epochs) >= epochs):
            return None
        _do(
            *("train", *words, "--epochs", str(epochs), "--seed", str(self.seed)),
            *("--run", str(run.folder), "--resume", "true"),
        )
        return run

    def cosine(self, lr: float, epochs: int) -> list[str]:
        """Return the words for Adam at a learning rate that falls to zero like a cosine over all epochs."""
        words = ["--optimizer", "Adam", "--optimizer.lr", f"{lr:g}", "--scheduler", "CosineAnnealingLR"]
        return [*words, "--scheduler.T_max", str(self.epochs or epochs)]

    def evaluate(self, run: Run, estimator: Estimator, **options: Any) -> StoredEvaluation:
        """Evaluate a run by ``pyrovae evaluate``, unless it was since its last epoch.

        Args:
            run: the run.
            estimator: of log p(x).
            options: of the command; of the chains of a sandwich as in ``reverse__num_leapfrogs``.
        """
        options = {"seed": self.seed, **options}
        name = _evaluation(run, estimator, options)
        if name is None:
            words = [f"--method={type(estimator).__name__}"]
            words += [f"--method.{key}={json.dumps(value)}" for key, value in estimator.options.items()]
            words += [f"--{key.replace('__', '.')}={json.dumps(value)}" for key, value in options.items()]
            _do("evaluate", str(run.folder), *(word.replace('"', "") for word in words))
            name = _evaluation(run, estimator, options)
        assert name is not None, f"{run.folder} was evaluated, but its evaluation was not found"
        return read_evaluation(run, name)

    def judge(
        self,
        run: Run,
        num_samples: int,
        num_annealed: int,
        temperatures: int,
        weights: str = "best",
        num_data: int | None = None,
    ) -> tuple[StoredEvaluation, dict[str, float]]:
        """Evaluate a run by importance sampling, and its first images by annealing too.

        Args:
            run: which.
            num_samples: K of importance sampling.
            num_annealed: the first so many test images are annealed.
            temperatures: T of the annealing.
            weights: of the best epoch or of the last.
            num_data: the first so many test images are importance sampled; all if not given.

        Returns:
            the importance sampling, and its figures in nats per image with annealing's on its first images: the NLL,
            how far that of importance sampling is above it on the same images, and the bias that the chains tell.
        """
        images = {} if num_data is None else {"num_data": num_data}
        sampled = self.evaluate(run, Importance(num_samples), weights=weights, **images)
        annealed = self.evaluate(run, Annealed(temperatures), weights=weights, num_data=num_annealed)
        gap, error = paired(sampled, annealed)
        row = {**figures(sampled), "annealed": annealed.result.nll, "gap": gap, "gap_error": error}
        row |= {"bias": annealed.result.mean_bias, "acceptance": annealed.result.acceptance.median().item()}
        return sampled, row

    def keep(self, name: str, record: dict[str, Any], runs: dict[str, Run]) -> None:
        """Write a reproduction's record, with what its runs came to, and their learning curves beside it."""
        made = [summary["versions"] for run in runs.values() for summary in run.evaluations().values()]
        record = {
            "command": f"python scripts/reproductions/{Path(sys.argv[0]).name}{' --root DIR' if self.root else ''}",
            "data": "MNIST" if self.root else "scikit-learn's digits in place of MNIST",
            **record,
            "runs": [{"run": run, **facts(folder)} for run, folder in runs.items()],
            "seed": self.seed,
            "threads": self.threads,
            "date": date.fromtimestamp(max(map(evaluated_at, runs.values()))).isoformat(),
            "versions": {name: ", ".join(sorted({each[name] for each in made})) for name in ("torch", "pyro-ppl")},
        }
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["run", "epoch", "train_elbo", "validation_elbo", "learning_rate"])
        for run, folder in runs.items():
            epochs = folder.history().epochs
            for i in sorted({round(len(epochs) ** (j / (POINTS - 1))) for j in range(POINTS)}):
                row = epochs[i - 1]
                values = row.train_elbo, row.validation_elbo, row.learning_rate
                table.writerow([run, i, *(f"{value:.6g}" for value in values)])
        write_text(f"{self.out}/{name}.csv", text.getvalue())
        write_text(f"{self.out}/{name}.json", json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def network(at: str, kind: str, width: int, **options: str) -> list[str]:
    """Return the words that choose a network of two hidden layers for a conditional.

    Args:
        at: where the conditional is given, such as ``likelihood`` or ``program.layer``.
        kind: class of the network.
        width: of both layers.
        options: others of the network.
    """
    words = [f"--{at}.network", f"pyrovae.{kind}", f"--{at}.network.hidden_features", f"[{width},{width}]"]
    return [*words, *(word for key, value in options.items() for word in (f"--{at}.network.{key}", value))]


def tanh(at: str, width: int) -> list[str]:
    """Return the words that choose Burda et al.'s network, of this width."""
    return network(at, "MLP", width, activation="torch.nn.Tanh", initialization="glorot")


def facts(run: Run) -> dict[str, Any]:
    """Return what a run's training came to."""
    epochs = run.history().epochs
    return {
        "epochs": len(epochs),
        "minutes": sum(row.seconds for row in epochs) / 60,
        "seed": run.config()["seed"],
        "batch": run.config()["batch_size"],
        "train_elbo": epochs[-1].train_elbo,
    }


def evaluated_at(run: Run) -> float:
    """Return when a run was last evaluated, as a file's time."""
    return max(path.stat().st_mtime for path in (run.folder / "evaluation").glob("*.json"))


def _do(*words: str) -> None:
    """Run a command of pyrovae's; end as it does where it fails."""
    print("pyrovae", *words, flush=True)
    status = command(list(words))
    if status != 0:
        sys.exit(status)


def _evaluation(run: Run, estimator: Estimator, options: dict[str, Any]) -> str | None:
    """Return the name of the evaluation with these options, if there is one that is newer than the weights."""
    trained = (run.folder / "checkpoint" / "weights.safetensors").stat().st_mtime
    defaults: dict[str, Any] = {"weights": "best", "sandwich": False, "split": "test", "precision": "float32"}
    defaults |= {"estimator": {"class": type(estimator).__name__, **estimator.options}}
    for name, summary in run.evaluations().items():
        judged = summary["sandwich"] or {}
        made = {**summary, "sandwich": bool(judged), "num_simulated": judged.get("num_simulated")}
        made |= {f"reverse__{key}": value for key, value in judged.get("reverse", {}).items()}
        if "-first" not in name:  # of all images, however many were asked for
            made["num_data"] = max(made["num_data"], options.get("num_data", 0))
        alike = all(made.get(key) == value for key, value in (defaults | options).items())
        partial = "num_data" in options or "-first" not in name
        if alike and partial and (run.folder / "evaluation" / f"{name}.json").stat().st_mtime >= trained:
            return name
    return None
