"""Measure how often the posterior collapses, and the test NLL, with and without KL warm-up, over seeds and settings.

All seeds of a setting are trained at once: their programs are one program for ``fit``, whose loss is the sum over
seeds. Adam updates each parameter by itself, so every seed is trained as it would be alone; initial weights and the
noise of the codes differ between seeds, the order of the batches does not. A result that is in the file already is
not measured again.
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
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from torch import Tensor, nn
from torch.distributions import kl_divergence
from torch.func import functional_call, stack_module_state, vmap

import pyrovae as pv

COLLAPSED = 0.01  # nats per datum; a latent with a smaller KL is collapsed


@dataclass(frozen=True)
class Setting:
    data: Callable[[], pv.DataSet]
    likelihood: pv.LikelihoodFactory
    latent_dim: int
    epochs: int = 60
    hidden_features: tuple[int, ...] = (64, 64)
    lr: float = 2e-3


def settings(root: str | None, mnist_epochs: int) -> dict[str, Setting]:
    """Return the settings by name; those of MNIST only if there is a folder of it."""

    def counts() -> pv.DataSet:
        """Digits as what they are: the number of black pixels in each block of 4 x 4."""
        return pv.DataSet(load_digits().data.astype(np.float32))

    def table() -> pv.DataSet:
        values = load_breast_cancer().data
        return pv.DataSet(((values - values.mean(0)) / values.std(0)).astype(np.float32))

    found = {}
    for latent_dim in (2, 10):
        for name, binarization, likelihood in (
            ("dynamic, Bernoulli", "dynamic", pv.Bernoulli),
            ("threshold, Bernoulli", "threshold", pv.Bernoulli),
            ("grey, DiscretizedLogistic", "none", partial(pv.DiscretizedLogistic, levels=17)),
            ("grey, Gaussian", "none", pv.Gaussian),
        ):
            data = partial(pv.Digits, binarization=binarization)
            found[f"digits, {name}, {latent_dim} latents"] = Setting(data, likelihood, latent_dim)
        found[f"counts, NegativeBinomial, {latent_dim} latents"] = Setting(counts, pv.NegativeBinomial, latent_dim)
        found[f"table, Gaussian, {latent_dim} latents"] = Setting(table, pv.Gaussian, latent_dim)
    first = found["digits, dynamic, Bernoulli, 2 latents"]
    for lr in (1e-3, 2e-3):
        found[f"digits, dynamic, Bernoulli, 2 latents, default networks, lr {lr:g}"] = Setting(
            first.data, first.likelihood, 2, hidden_features=(400, 400), lr=lr
        )
    for latent_dim in (2, 50) if root is not None else ():
        found[f"MNIST, dynamic, Bernoulli, {latent_dim} latents"] = Setting(
            partial(pv.MNIST, root, binarization="dynamic"), pv.Bernoulli, latent_dim, mnist_epochs, lr=1e-3
        )
    return found


class Ensemble(pv.Program):
    """Independent VAEs as one program: one site of all their codes, one factor of all their likelihoods."""

    def __init__(self, members: list[pv.VAE]) -> None:
        super().__init__()
        self.members = members
        self.size, self.latent_dim = len(members), members[0].prior.latent_dim
        self.likelihood, self.likelihood_names = self._stack("likelihood")
        self.posterior, self.posterior_names = self._stack("posterior")

    def _stack(self, part: str) -> tuple[nn.ParameterList, list[str]]:
        stacked, _ = stack_module_state([getattr(member, part) for member in self.members])
        return nn.ParameterList(stacked.values()), list(stacked)

    def model(self, x: Tensor) -> None:
        """Sample the codes of all members, and add their log-likelihoods of ``x``, ``(B, *data_shape)``."""
        pyro.module("ensemble", self)
        template = [self.members[0].likelihood]

        def log_prob(parameters: dict[str, Tensor], z: Tensor) -> Tensor:
            return functional_call(template[0], parameters, (z,)).log_prob(x)

        with pyro.plate("data", len(x)):
            prior = dist.Normal(x.new_zeros(()), x.new_ones(()))
            z = pyro.sample("z", prior.expand((self.size * self.latent_dim,)).to_event(1))  # (B, S * D)
            with pyro.validation_enabled(False):
                z = z.unflatten(-1, (self.size, -1)).transpose(0, 1)  # (S, B, D)
                each = vmap(log_prob)(dict(zip(self.likelihood_names, self.likelihood, strict=True)), z)  # (S, B)
            pyro.factor("x", each.sum(0))

    def guide(self, x: Tensor) -> None:
        """Sample the codes of all members from their posteriors."""
        pyro.module("ensemble", self)
        template = [self.members[0].posterior]

        def moments(parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            normal = functional_call(template[0], parameters, (x,)).base_dist
            return normal.loc, normal.scale

        with pyro.plate("data", len(x)):
            with pyro.validation_enabled(False):
                both = vmap(moments)(dict(zip(self.posterior_names, self.posterior, strict=True)))
            loc, scale = (part.transpose(0, 1).flatten(1) for part in both)  # (B, S * D) each
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))

    def separate(self) -> list[pv.VAE]:
        """Give the members their trained parameters, and return them."""
        for i, member in enumerate(self.members):
            for part in ("likelihood", "posterior"):
                named = zip(getattr(self, f"{part}_names"), getattr(self, part), strict=True)
                getattr(member, part).load_state_dict({name: values[i].detach() for name, values in named}, False)
        return self.members


def measure(setting: Setting, data: pv.DataSet, share: float, initialize: bool, seeds: int, samples: int) -> Any:
    """Train all seeds; return the KL of each latent and the NLL of the test data, in nats per datum, of each seed."""
    network = partial(pv.MLP, hidden_features=setting.hidden_features)
    members = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        likelihood = setting.likelihood(data.data_shape, setting.latent_dim, network=network)  # type: ignore[call-arg]
        posterior = pv.DiagonalNormal(data.data_shape, setting.latent_dim, network=network)
        members.append(pv.VAE(pv.StandardNormal(setting.latent_dim), likelihood, posterior))
        if initialize:
            members[-1].initialize(data.train[torch.arange(min(4096, len(data.train)))])
    torch.manual_seed(0)
    ensemble = Ensemble(members)
    optimizer = partial(torch.optim.Adam, lr=setting.lr)
    warmup = round(share * setting.epochs)
    pv.fit(
        ensemble.model, ensemble.guide, data,
        epochs=setting.epochs, kl_warmup=warmup, optimizer=optimizer, compile="off", progress=False,
    )  # fmt: skip
    x = data.test[torch.arange(min(500, len(data.test)))]
    kls, nlls = [], []
    for member in ensemble.separate():
        with torch.no_grad():
            q, p = member.posterior(x).base_dist, member.prior().base_dist
            kls.append([round(value, 4) for value in kl_divergence(q, p).mean(0).tolist()])
        torch.manual_seed(0)
        nlls.append(round(pv.log_marginal(member.model, member.guide, x, num_samples=samples).nll, 3))
    return {"kl_per_latent": kls, "nll": nlls}


def baseline(setting: Setting, data: pv.DataSet) -> None:
    """(None: the best model without latents is what evaluation prints.)"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=None, help="folder that holds MNIST; without it, MNIST is left out")
    parser.add_argument("--only", nargs="*", default=[""], help="settings to measure, by the start of their name")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.2], help="of the epochs, for the warm-up")
    parser.add_argument("--initialize", type=int, nargs="+", default=[1, 0], choices=[0, 1])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--num_samples", type=int, default=200)
    parser.add_argument("--mnist_epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("docs/collapse.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    results = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else []
    known = {(row["setting"], row["share"], row["initialize"]) for row in results}
    for name, setting in settings(options.root, options.mnist_epochs).items():
        if not name.startswith(tuple(options.only)):
            continue
        for initialize in options.initialize:
            for share in options.shares:
                if (name, share, bool(initialize)) in known:
                    continue
                start = time.perf_counter()
                figures = measure(setting, setting.data(), share, bool(initialize), options.seeds, options.num_samples)
                row = {"setting": name, "share": share, "initialize": bool(initialize), "epochs": setting.epochs}
                row |= {"hidden_features": setting.hidden_features, "lr": setting.lr, "seeds": options.seeds}
                row |= {"num_samples": options.num_samples, "date": datetime.date.today().isoformat(), **figures}
                results.append(row)
                options.out.write_text(json.dumps(results), encoding="utf-8")
                print(f"{summary(row)}  ({time.perf_counter() - start:.0f} s)", flush=True)


def summary(row: dict[str, Any]) -> str:
    """Return a result as one line."""
    kl = torch.tensor(row["kl_per_latent"])  # (S, D)
    dead = kl < COLLAPSED
    nll = torch.tensor(row["nll"], dtype=torch.float64)
    return (
        f"{row['setting']}; warm-up {row['share']:g}; {'' if row['initialize'] else 'not '}initialized: "
        f"collapsed {dead.all(1).sum()}/{len(kl)}, in part {(dead.any(1) & ~dead.all(1)).sum()}/{len(kl)}, "
        f"KL {kl.sum(1).mean():.2f}, NLL {nll.mean():.2f} ± {nll.std():.2f} ({nll.min():.2f} to {nll.max():.2f})"
    )


if __name__ == "__main__":
    main()
