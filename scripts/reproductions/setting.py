"""Options, training, evaluation and records of the reproductions of published figures.

A reproduction trains its runs by ``pyrovae train --resume true``, evaluates them by ``pyrovae evaluate``, and writes
its results to ``NAME.json`` and its learning curves to ``NAME.csv``. Runs and evaluations that exist are not made
again, so that a command continues where an earlier one was interrupted; runs with other options are refused. Several
commands may train different runs of one reproduction (``--only``); each writes the record of all runs that exist.
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
from typing import Any, TypedDict

import torch
from jsonargparse.typing import PositiveInt
from results import figures, paired

from pyrovae import Annealed, Estimator, Importance, checks
from pyrovae.cli import main as command
from pyrovae.files import write_text
from pyrovae.runs import Run, StoredEvaluation, read_evaluation

POINTS = 30  # number of points of a stored learning curve
KEPT = "docs/reproductions"


class Options(TypedDict, total=False):
    """Options of every reproduction.

    Attributes:
        root: folder that holds MNIST; if it is not given, scikit-learn's digits are used instead.
        runs: folder for the runs; runs/reproductions if not given.
        out: folder for the results; docs/reproductions if not given.
        epochs: number of epochs of every run, instead of those of the protocol.
        threads: number of torch's threads; 1 if not given.
        seed: seed of training and evaluation; 0 if not given.
    """

    root: str | None
    runs: str
    out: str
    epochs: PositiveInt | None
    threads: PositiveInt
    seed: int


class OptionsOfSeveral(Options, total=False):
    """Options of a reproduction of several runs, of which one command may train some.

    Attributes:
        root: folder that holds MNIST; if it is not given, scikit-learn's digits are used instead.
        runs: folder for the runs; runs/reproductions if not given.
        out: folder for the results; docs/reproductions if not given.
        epochs: number of epochs of every run, instead of those of the protocol.
        threads: number of torch's threads; 1 if not given.
        seed: seed of training and evaluation; 0 if not given.
        only: names of the runs to train; the results of others are kept if they exist. All if not given.
    """

    only: list[str] | None


@dataclass(frozen=True)
class Setting:
    """A reproduction: its name, and the options that all reproductions have.

    Args:
        name: name of the reproduction, and of the folder of its runs.
        root: see :class:`Options`, as the others.
        runs: folder for the runs' folders.
        out: folder for the results.
        epochs: number of epochs of every run, instead of those of the protocol.
        threads: number of torch's threads.
        seed: seed of training and evaluation.
        only: names of the runs to train; all if not given.
    """

    name: str
    root: str | None = None
    runs: str = "runs/reproductions"
    out: str = KEPT
    epochs: int | None = None
    threads: int = 1
    seed: int = 0
    only: list[str] | None = None

    def begin(self, *names: str, **counts: int) -> None:
        """Check the options and set torch's threads, as the command line's processes have them.

        Args:
            names: names of all runs; ``only`` must be some of them.
            counts: options that must be 2 or more, such as a number of images, because their results have errors.
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
        """Return the options for MNIST, binarised at every step, the test set once."""
        if self.root is None:
            return ["--data", "Digits"]
        return ["--data", "MNIST", "--data.root", self.root, "--data.validation_size", str(validation_size)]

    def train(self, name: str, words: Sequence[str], epochs: int) -> Run | None:
        """Train a run by ``pyrovae train``, or resume it; None if it is neither trained nor to be trained.

        Args:
            name: name of the run.
            words: the options, which an existing run must have been trained with.
            epochs: number of epochs of the protocol.
        """
        epochs = self.epochs or epochs
        run = Run(f"{self.runs}/{self.name}/{name}")
        wanted = self.only is None or name in self.only
        if not wanted and not ((run.folder / "metrics.csv").exists() and len(run.history().epochs) >= epochs):
            return None
        _do(
            *("train", *words, "--epochs", str(epochs), "--seed", str(self.seed)),
            *("--run", str(run.folder), "--resume", "true"),
        )
        return run

    def cosine(self, lr: float, epochs: int) -> list[str]:
        """Return the options for Adam at a learning rate that falls to zero like a cosine over all epochs."""
        words = ["--optimizer", "Adam", "--optimizer.lr", f"{lr:g}", "--scheduler", "CosineAnnealingLR"]
        return [*words, "--scheduler.T_max", str(self.epochs or epochs)]

    def evaluate(self, run: Run, estimator: Estimator, **options: Any) -> StoredEvaluation:
        """Evaluate a run by ``pyrovae evaluate``, unless it has been evaluated since its last epoch.

        Args:
            run: the run.
            estimator: the estimator of log p(x).
            options: options of the command; those of a sandwich's chains as in ``reverse__num_leapfrogs``.
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
            run: the run.
            num_samples: number K of importance samples.
            num_annealed: number of test images that are annealed, from the first.
            temperatures: number T of temperatures.
            weights: weights of the best validation ELBO, or of the last epoch.
            num_data: number of test images for importance sampling, from the first; all if not given.

        Returns:
            the evaluation by importance sampling, and its results in nats per image, with the following on the first
            images: the NLL by annealing, the excess of the NLL by importance sampling over it, and the estimated bias
            of the chains.
        """
        images = {} if num_data is None else {"num_data": num_data}
        sampled = self.evaluate(run, Importance(num_samples), weights=weights, **images)
        annealed = self.evaluate(run, Annealed(temperatures), weights=weights, num_data=num_annealed)
        gap, error = paired(sampled, annealed)
        row = {**figures(sampled), "annealed": annealed.result.nll, "gap": gap, "gap_error": error}
        row |= {"bias": annealed.result.mean_bias, "acceptance": annealed.result.acceptance.median().item()}
        return sampled, row

    def keep(self, name: str, record: dict[str, Any], runs: dict[str, Run]) -> None:
        """Write a reproduction's record, with the results of its runs, and their learning curves beside it."""
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
    """Return the options for a conditional's network of two hidden layers.

    Args:
        at: name of the option for the conditional, such as ``likelihood`` or ``program.layer``.
        kind: class of the network.
        width: width of both layers.
        options: other options of the network.
    """
    words = [f"--{at}.network", f"pyrovae.{kind}", f"--{at}.network.hidden_features", f"[{width},{width}]"]
    return [*words, *(word for key, value in options.items() for word in (f"--{at}.network.{key}", value))]


def iwae_networks(layers: int) -> list[str]:
    """Return the options for Burda et al.'s architecture of one or two stochastic layers."""
    if layers == 1:
        return ["--latent_dim", "50", *tanh("likelihood", 200), *tanh("posterior", 200)]
    return [
        *("--latent_dim", "50", "--program", "HierarchicalVAE", "--program.dims", "[100]"),
        *tanh("program.likelihood", 200),
        *tanh("program.posterior", 200),
        *tanh("program.layer", 100),
        *tanh("program.layer_posterior", 100),
    ]


def tanh(at: str, width: int) -> list[str]:
    """Return the options for Burda et al.'s network with hidden layers of a width."""
    return network(at, "MLP", width, activation="torch.nn.Tanh", initialization="glorot")


def facts(run: Run) -> dict[str, Any]:
    """Return the number of epochs, the time and the final ELBO of a run's training."""
    epochs = run.history().epochs
    return {
        "epochs": len(epochs),
        "minutes": sum(row.seconds for row in epochs) / 60,
        "seed": run.config()["seed"],
        "batch": run.config()["batch_size"],
        "train_elbo": epochs[-1].train_elbo,
    }


def evaluated_at(run: Run) -> float:
    """Return the time of a run's last evaluation, as that of its file."""
    return max(path.stat().st_mtime for path in (run.folder / "evaluation").glob("*.json"))


def _do(*words: str) -> None:
    """Run a command of pyrovae; if it fails, exit with its status."""
    print("pyrovae", *words, flush=True)
    status = command(list(words))
    if status != 0:
        sys.exit(status)


def _evaluation(run: Run, estimator: Estimator, options: dict[str, Any]) -> str | None:
    """Return the name of an evaluation with these options that is newer than the weights, or None."""
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
