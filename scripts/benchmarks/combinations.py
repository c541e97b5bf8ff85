"""Train every combination of what can be swapped on scikit-learn's digits for one budget, and write the table.

Each run is a VAE (or another program) of 6 latents with networks of one hidden layer of 64, trained from the same seed
for the same epochs, and evaluated on the 180 test images by importance sampling. Results are kept in a JSON file as
they come, so that a run that was stopped goes on; the page docs/combinations.md is written at the end.
"""

from __future__ import annotations

import argparse
import inspect
import json
import multiprocessing
import platform
import sys
import time
import warnings
from collections.abc import Callable
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from tqdm import tqdm

import pyrovae as pv
from pyrovae.files import atomic_write
from pyrovae.programs import uses_labels
from pyrovae.runs import first_data

D = 6
PRIORS = {
    "StandardNormal": pv.StandardNormal,
    "LearnedNormal": pv.LearnedNormal,
    "GaussianMixture": partial(pv.GaussianMixture, num_components=20),
    "VampPrior": partial(pv.VampPrior, num_components=50),
    "FlowPrior": pv.FlowPrior,
    "SphericalUniform": pv.SphericalUniform,
}
POSTERIORS = {
    "DiagonalNormal": pv.DiagonalNormal,
    "FullCovarianceNormal": pv.FullCovarianceNormal,
    "LowRankNormal": pv.LowRankNormal,
    "MixturePosterior": pv.MixturePosterior,
    "FlowPosterior": pv.FlowPosterior,
    "FlowPosterior, Spline": partial(pv.FlowPosterior, flow=pv.Spline),
    "FlowPosterior, Planar": partial(pv.FlowPosterior, flow=pv.Planar, num_layers=4),
    "FlowPosterior, Radial": partial(pv.FlowPosterior, flow=pv.Radial, num_layers=4),
    "VonMisesFisher": pv.VonMisesFisher,
}
LIKELIHOODS = {
    "Bernoulli": (pv.Bernoulli, "binary"),
    "DiscretizedLogistic": (partial(pv.DiscretizedLogistic, levels=17), "scaled"),
    "DiscretizedLogisticMixture": (partial(pv.DiscretizedLogisticMixture, levels=17), "scaled"),
    "Categorical": (partial(pv.Categorical, levels=17), "scaled"),
    "Gaussian": (partial(pv.Gaussian, scale="network"), "dequantized"),
    "Laplace": (partial(pv.Laplace, scale="network"), "dequantized"),
    "StudentT": (partial(pv.StudentT, scale="network"), "dequantized"),
    "ContinuousBernoulli": (pv.ContinuousBernoulli, "dequantized"),
    "Poisson": (pv.Poisson, "counts"),
    "NegativeBinomial": (pv.NegativeBinomial, "counts"),
}
OBJECTIVES = {
    "Trace_ELBO": pv.Trace_ELBO,
    "TraceMeanField_ELBO": pv.TraceMeanField_ELBO,
    "STL": pv.STL,
    "IWAE": pv.IWAE,
    "DReG": pv.DReG,
    "MIWAE": pv.MIWAE,
    "PIWAE": pv.PIWAE,
    "CIWAE": pv.CIWAE,
    "Renyi": pv.Renyi,
    "RWS": pv.RWS,
    "FreeBits": pv.FreeBits,
    "BetaTCVAE": pv.BetaTCVAE,
    "MMD, KL 1": partial(pv.MMD, mmd_weight=10.0, kl_weight=1.0),
}
NETWORKS = {
    "MLP": (partial(pv.MLP, hidden_features=(64,)), partial(pv.MLP, hidden_features=(64,))),
    "MLP, ELU, dropout, decay": (
        partial(pv.MLP, hidden_features=(64,), activation=torch.nn.ELU, dropout=0.1, weight_decay=1e-5),
    )
    * 2,
    "MLP, LayerNorm": (partial(pv.MLP, hidden_features=(64,), normalization=torch.nn.LayerNorm),) * 2,
    "GatedMLP": (partial(pv.GatedMLP, hidden_features=(64,)),) * 2,
    "convolutional pair": (pv.ConvolutionalEncoder, pv.ConvolutionalDecoder),
    "ResNet pair": (partial(pv.ResNetEncoder, channels=(16, 32)), partial(pv.ResNetDecoder, channels=(32, 16))),
}
PROGRAMS = {
    "VAE": ("VAE", {}, {}),
    "HierarchicalVAE, bottom up, KL warm-up": ("HierarchicalVAE", {"dims": (12,)}, {"kl_warmup": 10}),
    "HierarchicalVAE, ladder, KL warm-up": (
        "HierarchicalVAE",
        {"dims": (12,), "inference": "ladder"},
        {"kl_warmup": 10},
    ),
    "SphericalVAE": ("SphericalVAE", {}, {}),
    "ConditionalVAE, log p(x given y)": ("ConditionalVAE", {}, {}),
    "SemiSupervisedVAE, 100 labels": ("SemiSupervisedVAE", {}, {"objective": pv.TraceEnum_ELBO}),
}
small = partial(pv.MLP, hidden_features=(64,))


def data_of(kind: str) -> pv.DataSet:
    digits = load_digits()
    images, labels = torch.tensor(digits.images, dtype=torch.uint8)[:, None], torch.tensor(digits.target)
    if kind == "counts":
        return pv.DataSet(images.int(), labels)
    if kind == "labelled":
        return pv.PartlyLabelled(pv.Digits, num_labels=100)
    options: dict[str, dict[str, Any]] = {
        "binary": {},
        "scaled": {"binarization": "none"},
        "dequantized": {"binarization": "none", "dequantize": True},
    }
    return pv.Digits(**options[kind])


def make_vae(prior: str, posterior: str, likelihood: str, network: str | None = None) -> Any:
    encoder, decoder = (small, small) if network is None else NETWORKS[network]
    shape = (1, 8, 8)
    return pv.VAE(
        PRIORS[prior](D),
        LIKELIHOODS[likelihood][0](shape, D, network=decoder),
        POSTERIORS[posterior](shape, D, network=encoder),
    )


def make_program(name: str) -> Any:
    kind, options, _ = PROGRAMS[name]
    if kind == "VAE":
        return make_vae("StandardNormal", "DiagonalNormal", "Bernoulli")
    cls: Callable[..., Any] = getattr(pv, kind)
    parts = {
        "likelihood": partial(pv.Bernoulli, network=small),
        "posterior": partial(pv.VonMisesFisher if kind == "SphericalVAE" else pv.DiagonalNormal, network=small),
        "layer_posterior": partial(pv.DiagonalNormal, network=small),
        "classifier": small,
    }
    known = inspect.signature(cls).parameters
    return cls((1, 8, 8), D, **{name: part for name, part in parts.items() if name in known}, **options)


def run(task: tuple[dict[str, str], int, int]) -> tuple[str, dict[str, Any]]:
    """Train one combination and evaluate it, or say why it is refused."""
    chosen, epochs, num_samples = task
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    warnings.filterwarnings("ignore", "the step")
    result: dict[str, Any]
    try:
        torch.manual_seed(0)
        fitting: dict[str, Any] = {"objective": OBJECTIVES[chosen.get("objective", "Trace_ELBO")]}
        if "program" in chosen:
            program = make_program(chosen["program"])
            kind = "labelled" if "labels" in chosen["program"] else "binary"
            fitting |= PROGRAMS[chosen["program"]][2]
        else:
            choice = {"prior": "StandardNormal", "posterior": "DiagonalNormal", "likelihood": "Bernoulli", **chosen}
            if choice["posterior"] == "VonMisesFisher" and "prior" not in chosen:
                choice["prior"] = "SphericalUniform"
            if choice["prior"] == "SphericalUniform" and "posterior" not in chosen:
                choice["posterior"] = "VonMisesFisher"
            program = make_vae(choice["prior"], choice["posterior"], choice["likelihood"], choice.get("network"))
            kind = LIKELIHOODS[choice["likelihood"]][1]
        data = data_of(kind)
        program.initialize(data.train[:])
        start = time.perf_counter()
        pv.fit(
            program.model,
            program.guide,
            data,
            epochs=epochs,
            batch_size=50,
            optimizer=partial(torch.optim.Adam, lr=2e-3),
            max_norm=1e4,
            restore_best=True,
            progress=False,
            **fitting,
        )
        seconds = time.perf_counter() - start
        ml = pv.log_marginal(program.model, program.guide, first_data(program, data.test, 180), num_samples=num_samples)
        result = {"nll": ml.nll, "elbo": ml.elbo.mean().item(), "bits": data.bits_per_dim(ml.nll), "seconds": seconds}
        if uses_labels(program.model) == "where known":
            program.eval()
            with torch.no_grad():
                told = program.classify(data.test[:]).argmax(-1)
            known = data.test.labels >= 0
            result["accuracy"] = (told == data.test.labels)[known].double().mean().item()
    except (ValueError, FloatingPointError) as error:
        result = {"refused": str(error)}
    return json.dumps(chosen, sort_keys=True), result


def tasks() -> list[dict[str, str]]:
    """List the combinations: prior x posterior x likelihood, objective x each of these, networks, programs."""
    found = [
        {"prior": prior, "posterior": posterior, "likelihood": likelihood}
        for prior in PRIORS
        for posterior in POSTERIORS
        for likelihood in LIKELIHOODS
        if (prior == "SphericalUniform") == (posterior == "VonMisesFisher")
    ]
    for objective in OBJECTIVES:
        found += [{"objective": objective, "prior": prior} for prior in PRIORS]
        found += [{"objective": objective, "posterior": posterior} for posterior in POSTERIORS]
        found += [{"objective": objective, "likelihood": likelihood} for likelihood in LIKELIHOODS]
    found += [{"network": network} for network in NETWORKS]
    return found + [{"program": program} for program in PROGRAMS]


def table(title: str, columns: list[str], rows: list[tuple[str, list[str]]]) -> str:
    lines = [f"| {title} | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    return "\n".join([*lines, *(f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows)])


def page(results: dict[str, dict[str, Any]], epochs: int, num_samples: int, command: str) -> str:
    refusals: dict[str, int] = {}

    def cell(**chosen: str) -> str:
        result = results.get(json.dumps(chosen, sort_keys=True))
        if result is None:
            return ""
        if "refused" in result:
            return f"[{refusals.setdefault(result['refused'], len(refusals) + 1)}]"
        likelihood = chosen.get("likelihood", "Bernoulli")
        return f"{result['nll']:.2f}" if LIKELIHOODS[likelihood][1] == "binary" else f"{result['bits']:.2f}"

    parts = [
        "# Every combination",
        f"Each number is the negative log-likelihood of the 180 test digits, bounded by importance sampling with K = "
        f"{num_samples} samples, after {epochs} epochs of training: 6 latents, networks of one hidden layer of 64, "
        "batches of 50, Adam at 2e-3, seed 0, the weights of the best validation ELBO. The budget is small and the "
        "same for all: the tables show which components fit together and the result after this time, not which is "
        "best after full training.",
        "Bernoulli columns are in nats per datum, for digits that are binarised again at each reading. All others are "
        "in bits per dimension, for all 17 grey levels: discrete likelihoods of the levels, densities of the "
        "dequantised levels, and Poisson and NegativeBinomial of the levels as counts.",
        "A number in brackets is a combination that is refused before training; its error is below the tables.",
        "Components that a table does not name are StandardNormal, DiagonalNormal and Bernoulli; a spherical prior has "
        "the spherical posterior, and vice versa.",
        f"Made on {date.today().isoformat()} by `{command}`, pyrovae {version('pyrovae')}, torch {torch.__version__}, "
        f"pyro-ppl {version('pyro-ppl')}, Python {platform.python_version()}.",
        "## Prior, posterior and likelihood",
    ]
    for prior in PRIORS:
        rows = [
            (posterior, [cell(prior=prior, posterior=posterior, likelihood=likelihood) for likelihood in LIKELIHOODS])
            for posterior in POSTERIORS
            if (prior == "SphericalUniform") == (posterior == "VonMisesFisher")
        ]
        parts += [f"### {prior}", table("posterior", list(LIKELIHOODS), rows)]
    for what, options in (("prior", PRIORS), ("posterior", POSTERIORS), ("likelihood", LIKELIHOODS)):
        rows = [(name, [cell(objective=name, **{what: option}) for option in options]) for name in OBJECTIVES]
        parts += [f"## Objective and {what}", table("objective", list(options), rows)]
    rows = [(name, [cell(network=name)]) for name in NETWORKS]
    parts += ["## Networks", table("encoder and decoder", ["nats"], rows)]
    rows = []
    for name in PROGRAMS:
        result = results.get(json.dumps({"program": name}), {})
        note = f", {result['accuracy']:.1%} of the classes right" if "accuracy" in result else ""
        rows.append((name + note, [cell(program=name)]))
    parts += ["## Programs", table("program", ["nats"], rows)]
    parts += [
        "`Autoencoder` has no likelihood and so no place here.",
        "## What is refused",
        "\n".join(f"{number}. {sentence}." for sentence, number in refusals.items()) or "Nothing.",
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=20, help="passes over the 1,437 training images")
    parser.add_argument("--num_samples", type=int, default=200, help="importance samples for each test image")
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--results", type=Path, default=Path("runs/combinations.json"), help="what is done already")
    parser.add_argument("--out", type=Path, default=Path("docs/combinations.md"))
    options = parser.parse_args()
    results: dict[str, dict[str, Any]] = (
        json.loads(options.results.read_text(encoding="utf-8")) if options.results.exists() else {}
    )
    left = [task for task in tasks() if json.dumps(task, sort_keys=True) not in results]
    todo = [(task, options.epochs, options.num_samples) for task in left]
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        for i, (key, result) in enumerate(tqdm(pool.imap_unordered(run, todo), total=len(todo))):
            results[key] = result
            if i % 10 == 9 or i == len(todo) - 1:
                with atomic_write(options.results) as file:
                    file.write(json.dumps(results, indent=1).encode())
    command = f"python scripts/benchmarks/combinations.py --epochs {options.epochs} --num_samples {options.num_samples}"
    with atomic_write(options.out) as file:
        file.write(page(results, options.epochs, options.num_samples, command).encode())
    print(f"{len(results)} combinations; the page is {options.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
