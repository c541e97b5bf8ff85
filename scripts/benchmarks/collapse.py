"""Measure how often the posterior collapses, and the test NLL, with and without KL warm-up, over seeds and settings.

All seeds and variants of a setting are trained side by side in one loop, with the steps of ``fit``: the loss of
``Trace_ELBO`` (or with the KL in closed form, as ``TraceMeanField_ELBO``), Adam, and a weight of the KL that grows
linearly. Variants of a seed share initial weights and noise; seeds that are trained together share the order of the
batches. Seeds that are in the file already are not measured again. ``--page`` prints the table of docs/training.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

import pyrovae as pv

COLLAPSED = 0.01  # nats per datum; a latent with a smaller KL is collapsed


@dataclass(frozen=True)
class Setting:
    data: Callable[[], pv.DataSet]
    likelihood: Any
    latent_dim: int
    epochs: int = 60
    hidden_features: tuple[int, ...] = (64, 64)
    lr: float = 2e-3


class Variant(NamedTuple):
    share: float  # share of the run in which the weight of the KL grows
    initialize: bool
    analytic: bool  # True if the KL is in closed form


def settings(options: argparse.Namespace) -> dict[str, Setting]:
    """Return the settings by name; those of MNIST only if there is a folder of it."""

    def counts() -> pv.DataSet:
        """Digits as what they are: the number of black pixels in each block of 4 x 4."""
        return pv.DataSet(load_digits().data.astype(np.float32))

    def table() -> pv.DataSet:
        values = load_breast_cancer().data
        return pv.DataSet(((values - values.mean(0)) / values.std(0)).astype(np.float32))

    grey, D = partial(pv.DiscretizedLogistic, levels=17), {2: "2 latents", 10: "10 latents"}
    found = {}
    for dim, latents in D.items():
        found[f"digits, dynamic, Bernoulli, {latents}"] = Setting(pv.Digits, pv.Bernoulli, dim)
        found[f"digits, threshold, Bernoulli, {latents}"] = Setting(
            partial(pv.Digits, binarization="threshold"), pv.Bernoulli, dim
        )
        greys = partial(pv.Digits, binarization="none")
        found[f"digits, grey, DiscretizedLogistic, {latents}"] = Setting(greys, grey, dim)
        found[f"digits, grey, Gaussian, {latents}"] = Setting(greys, pv.Gaussian, dim)
        found[f"counts, NegativeBinomial, {latents}"] = Setting(counts, pv.NegativeBinomial, dim)
        found[f"table, Gaussian, {latents}"] = Setting(table, pv.Gaussian, dim)
    found["digits, dynamic, Bernoulli, 2 latents, 20 epochs"] = Setting(pv.Digits, pv.Bernoulli, 2, epochs=20)
    found["digits, dynamic, Bernoulli, 2 latents, networks of 400-400, 20 epochs"] = Setting(
        pv.Digits, pv.Bernoulli, 2, epochs=20, hidden_features=(400, 400)
    )
    found["digits, dynamic, Bernoulli, 2 latents, networks of 400-400"] = Setting(
        pv.Digits, pv.Bernoulli, 2, hidden_features=(400, 400)
    )
    for dim in (2, 50) if options.root is not None else ():
        found[f"MNIST, dynamic, Bernoulli, {dim} latents"] = Setting(
            partial(pv.MNIST, options.root, binarization="dynamic"), pv.Bernoulli, dim, options.mnist_epochs, lr=1e-3
        )
    return found


class Ensemble:
    """VAEs of the same kind side by side: M members, whose parameters are stacked."""

    def __init__(self, members: list[pv.VAE]) -> None:
        self.member = members[0]
        self.decoders, self.buffers = stack_module_state([member.likelihood for member in members])
        self.encoders, _ = stack_module_state([member.posterior for member in members])

    def parameters(self) -> list[Tensor]:
        """Return the stacked parameters, ``(M, ...)`` each."""
        return [*self.decoders.values(), *self.encoders.values()]

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of q(z|x), ``(M, B, D)``, for ``x`` of shape ``(B, *data_shape)``."""

        def moments(parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            normal = functional_call(self.member.posterior, parameters, (x,)).base_dist
            return normal.loc, normal.scale

        return vmap(moments)(self.encoders)

    def log_likelihood(self, z: Tensor, x: Tensor) -> Tensor:
        """Return log p(x|z), ``(M, B)``, for codes ``(M, B, D)``."""

        def log_prob(parameters: dict[str, Tensor], buffers: dict[str, Tensor], z: Tensor) -> Tensor:
            return functional_call(self.member.likelihood, {**parameters, **buffers}, (z,)).log_prob(x)

        return vmap(log_prob)(self.decoders, self.buffers, z)


def analytic_kl(loc: Tensor, scale: Tensor) -> Tensor:
    """Return KL(N(loc, scale) || N(0, 1)) of each component."""
    return 0.5 * (loc**2 + scale**2 - 1) - scale.log()


def sampled_kl(loc: Tensor, scale: Tensor, z: Tensor) -> Tensor:
    """Return log q(z|x) - log p(z) of each component."""
    return 0.5 * (z**2 - ((z - loc) / scale) ** 2) - scale.log()


def train(
    setting: Setting, data: pv.DataSet, variants: list[Variant], seeds: range, train_size: int | None, batch: int = 128
) -> Ensemble:
    """Train the variants, each with all seeds; the members are in the order of the variants, then of the seeds."""
    network = partial(pv.MLP, hidden_features=setting.hidden_features)
    members = []
    for variant in variants:
        for seed in seeds:
            torch.manual_seed(seed)
            likelihood = setting.likelihood(data.data_shape, setting.latent_dim, network=network)
            posterior = pv.DiagonalNormal(data.data_shape, setting.latent_dim, network=network)
            members.append(pv.VAE(pv.StandardNormal(setting.latent_dim), likelihood, posterior))
            if variant.initialize:
                members[-1].initialize(data.train[torch.arange(min(4096, len(data.train)))])
    ensemble = Ensemble(members)
    optimizer = torch.optim.Adam(ensemble.parameters(), lr=setting.lr, fused=True)
    size = min(len(data.train), train_size or len(data.train))
    total = setting.epochs * math.ceil(size / batch)
    warmup = torch.tensor([variant.share * total for variant in variants]).repeat_interleave(
        len(seeds)
    )  # (M,), in steps
    analytic = torch.tensor([variant.analytic for variant in variants]).repeat_interleave(len(seeds))  # (M,)
    torch.manual_seed(seeds.start)
    step = 0
    for _ in range(setting.epochs):
        for position in torch.randperm(size).split(batch):
            x = data.train[position]
            beta = torch.where(warmup > 0, step / warmup.clamp_min(1.0), 1.0).clamp_max(1.0)
            loc, scale = ensemble.encode(x)
            noise = torch.randn(len(seeds), *loc.shape[1:]).repeat(len(variants), 1, 1)
            z = loc + scale * noise  # (M, B, D)
            kl = torch.where(analytic[:, None, None], analytic_kl(loc, scale), sampled_kl(loc, scale, z)).sum((1, 2))
            loss = (beta * kl - ensemble.log_likelihood(z, x).sum(1)).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    return ensemble


@torch.no_grad()
def test(ensemble: Ensemble, x: Tensor, num_samples: int) -> tuple[Tensor, Tensor]:
    """Return KL of each latent, ``(M, D)``, and NLL by importance sampling, ``(M,)``, in nats per datum."""
    loc, scale = ensemble.encode(x)
    weights = []
    for _ in range(num_samples):
        noise = torch.randn(loc.shape[1:])
        z = loc + scale * noise
        weights.append(ensemble.log_likelihood(z, x) - sampled_kl(loc, scale, z).sum(-1))
    log_prob = torch.stack(weights).double().logsumexp(0) - math.log(num_samples)  # (M, B)
    return analytic_kl(loc, scale).mean(1), -log_prob.mean(1)


def measure(
    name: str, setting: Setting, known: list[dict[str, Any]], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return the results of a setting, a row a variant: those that are known, with the seeds that they lack."""
    variants = [Variant(share, bool(initialize), False) for initialize in (1, 0) for share in options.shares]
    variants += [Variant(share, True, True) for share in options.analytic]
    mnist = name.startswith("MNIST")
    train_size = options.mnist_size if mnist else None
    data = setting.data()
    common = {"setting": name, "epochs": setting.epochs, "hidden_features": setting.hidden_features}
    common |= {"lr": setting.lr, "train_size": train_size or len(data.train), "num_samples": options.num_samples}
    rows = known or [{**common, **variant._asdict(), "kl_per_latent": [], "nll": []} for variant in variants]
    if any(row[key] != json.loads(json.dumps(value)) for row in rows for key, value in common.items()):
        raise SystemExit(f"{name} was measured with other options: give these again, or another --out")
    variants = [Variant(row["share"], row["initialize"], row["analytic"]) for row in rows]
    seeds = range(len(rows[0]["nll"]), options.seeds)
    ensemble = train(setting, data, variants, seeds, train_size)
    kl, nll = test(ensemble, data.test[torch.arange(min(500, len(data.test)))], options.num_samples)
    for row, new_kl, new_nll in zip(rows, kl.split(len(seeds)), nll.split(len(seeds)), strict=True):
        row["kl_per_latent"] += [[round(value, 4) for value in latents] for latents in new_kl.tolist()]
        row["nll"] += [round(value, 3) for value in new_nll.tolist()]
        row["date"] = datetime.date.today().isoformat()
    return rows


class Summary(NamedTuple):
    seeds: int
    collapsed: int  # seeds all of whose latents are collapsed
    in_part: int  # seeds some of whose latents are
    kl: float
    nll: float
    spread: float  # standard deviation over seeds

    @classmethod
    def of(cls, row: dict[str, Any]) -> Summary:
        kl, nll = torch.tensor(row["kl_per_latent"]), torch.tensor(row["nll"], dtype=torch.float64)
        dead = kl < COLLAPSED
        all_dead = dead.all(1)
        in_part = int((dead.any(1) & ~all_dead).sum())
        return cls(len(kl), int(all_dead.sum()), in_part, kl.sum(1).mean().item(), nll.mean().item(), nll.std().item())


def page(results: list[dict[str, Any]]) -> str:
    """Return the table, a line a variant."""
    lines = [
        "| setting | KL | `initialize` | warm-up | all latents collapsed | some | KL, nats | test NLL, nats |",
        "|---|---|---|---|---|---|---|---|",
    ]
    before = None
    for row in results:
        found = Summary.of(row)
        name = "" if row["setting"] == before else row["setting"]
        before = row["setting"]
        kind, initialize = "closed form" if row["analytic"] else "sampled", "yes" if row["initialize"] else "no"
        lines.append(
            f"| {name} | {kind} | {initialize} | {row['share']:.0%} | {found.collapsed} of {found.seeds} | "
            f"{found.in_part} of {found.seeds} | {found.kl:.2f} | {found.nll:.2f} ± {found.spread:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=None, help="folder that holds MNIST; without it, MNIST is left out")
    parser.add_argument("--only", nargs="+", default=[""], help="settings to measure, by the start of their name")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.3], help="of the run, for the warm-up")
    parser.add_argument(
        "--analytic", type=float, nargs="*", default=[0.0], help="such shares with the KL in closed form"
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--num_samples", type=int, default=200)
    parser.add_argument("--mnist_epochs", type=int, default=5)
    parser.add_argument("--mnist_size", type=int, default=20000, help="number of training images of MNIST")
    parser.add_argument("--out", type=Path, default=Path("docs/collapse.json"))
    parser.add_argument(
        "--page", action="store_true", help="print the table of what is in the file, and measure nothing"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.distributions.Distribution.set_default_validate_args(False)
    results = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else []
    if options.page:
        print(page(results))
        return
    for name, setting in settings(options).items():
        known = [row for row in results if row["setting"] == name]
        if not name.startswith(tuple(options.only)) or (known and len(known[0]["nll"]) >= options.seeds):
            continue
        start = time.perf_counter()
        measured = measure(name, setting, known, options)
        if not known:
            results += measured
        options.out.write_text(json.dumps(results), encoding="utf-8")
        print(page([row for row in results if row["setting"] == name]))
        print(f"({time.perf_counter() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
