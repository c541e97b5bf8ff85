"""Infer without an encoder: the same SVI on a bent posterior and on a regression, against MCMC; then amortised.

"Data compression and variational inference with VAEs" announces black-box variational inference (Ranganath et al.,
2014, arXiv:1401.0118). First, z ~ N(0, I) in the plane is seen through x = z₂ + z₁² and noise. The posterior is a
crescent, known on a grid, and so is what a guide lacks: KL(q ‖ p(z|x)) = log p(x) - ELBO. Then a regression of few
data with two features that say nearly the same. Last, an encoder of simulated x is asked about the one that was seen.
``python scripts/examples/black_box_vi.py`` writes ``posterior.png``, ``regression.png`` and ``results.json``.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from functools import partial

import pyro
import pyro.distributions as dist
import torch
from jsonargparse.typing import PositiveInt
from pyro.distributions.transforms import affine_autoregressive, iterated
from pyro.infer import MCMC, NUTS, SVI
from pyro.infer.autoguide import AutoDiagonalNormal, AutoMultivariateNormal, AutoNormalizingFlow
from sklearn.datasets import load_diabetes
from torch import Tensor

from pyrovae import MLP, DataSet, FlowPosterior, Trace_ELBO, checks, figures, fit, log_weights, progress
from pyrovae.cli import script
from pyrovae.files import write_text

NAMES = ("body mass index", "cholesterol", "LDL cholesterol", "noise")
ELBO = partial(Trace_ELBO, vectorize_particles=True, max_plate_nesting=1)
LAYERS = partial(iterated, 3, affine_autoregressive, hidden_dims=[32, 32])
FLOW = partial(AutoNormalizingFlow, init_transform_fn=LAYERS)
GUIDES = {"mean-field normal": AutoDiagonalNormal, "normal": AutoMultivariateNormal, "autoregressive flow": FLOW}


def crescent(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z[..., 1:] + z[..., :1] ** 2, 0.3).to_event(1), obs=x)


def regression(X: Tensor, y: Tensor) -> None:
    weight = pyro.sample("weight", dist.Normal(torch.zeros(X.shape[1]), 1.0).to_event(1))
    noise = pyro.sample("noise", dist.HalfNormal(1.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal((X * weight).sum(-1), noise), obs=y)


def by_svi(model: Callable, make_guide: Callable, *data: Tensor, steps: int) -> tuple[dict[str, Tensor], float]:
    with pyro.get_param_store().scope(), pyro.validation_enabled(False):
        guide = make_guide(model)
        guide(*data)  # learns its shapes here, not among particles
        optimizer = pyro.optim.ClippedAdam({"lr": 0.02, "lrd": 0.05 ** (1 / steps)})
        svi = SVI(model, guide, optimizer, ELBO(16))
        for _ in progress.over(range(steps), type(guide).__name__, "step"):
            svi.step(*data)
        elbo = -ELBO(4000).loss(model, guide, *data)
        with torch.no_grad(), pyro.plate("samples", 2000, dim=-2):
            return guide(*data), elbo


def by_nuts(model: Callable, *data: Tensor, num_samples: int) -> dict[str, Tensor]:
    with progress.bar(f"NUTS, {model.__name__}", num_samples * 3 // 2, "step") as bar:
        kernel, half = NUTS(model, max_tree_depth=6), num_samples // 2
        chain = MCMC(kernel, num_samples, half, hook_fn=lambda *_: bar.update(), disable_progbar=True)
        chain.run(*data)
    return chain.get_samples()


def main(
    steps: PositiveInt = 1500,
    num_samples: PositiveInt = 1000,
    num_simulated: PositiveInt = 20_000,
    seed: int = 0,
    out: str = "runs/black_box_vi",
) -> None:
    """Infer a crescent in the plane and a regression by SVI and by MCMC, then the crescent by an encoder.

    Args:
        steps: of SVI, for each guide.
        num_samples: draws of NUTS, after half as many of warm-up.
        num_simulated: x that the encoder is trained on, 20 times each.
        seed: of all that is random.
        out: folder of the pictures and the figures.
    """
    pyro.set_rng_seed(checks.seed(seed))
    seen, limits = torch.ones(1, 1), (-2.5, 2.5, -3.5, 2.5)
    z = torch.cartesian_prod(torch.linspace(-3.5, 2.5, 500), torch.linspace(-2.5, 2.5, 400)).flip(-1)  # (200,000, 2)
    log_joint = dist.Normal(0.0, 1.0).log_prob(z).sum(-1) + dist.Normal(z[:, 1] + z[:, 0] ** 2, 0.3).log_prob(seen[0])
    log_prob = log_joint.logsumexp(0).item() + math.log(6 / 499 * 5 / 399)
    samples, gaps = {"NUTS": by_nuts(crescent, seen, num_samples=num_samples)["z"].squeeze(-2)}, {}
    for name, guide in GUIDES.items():
        drawn, elbo = by_svi(crescent, guide, seen, steps=steps)
        gaps[name] = log_prob - elbo
        samples[f"{name}: KL {gaps[name]:.3f} nats"] = drawn["z"].reshape(-1, 2)

    encoder = FlowPosterior((1,), 2, partial(MLP, hidden_features=(64, 64)), num_layers=3)

    def amortised(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("z", encoder(x))

    z = torch.randn(num_simulated, 2)
    simulated = z[:, 1:] + z[:, :1] ** 2 + 0.3 * torch.randn(num_simulated, 1)
    fit(crescent, amortised, DataSet(simulated), epochs=20, optimizer=partial(torch.optim.Adam, lr=1e-3))
    gap = gaps["flow, amortised"] = log_prob - log_weights(crescent, amortised, seen, 4000).mean().item()
    samples[f"flow, amortised: KL {gap:.3f} nats"] = encoder(seen).sample((2000,))[:, 0]
    figures.save(figures.plane_posteriors(samples, log_joint.reshape(500, 400), limits), f"{out}/posterior.png")
    features, target = (torch.tensor(part[:40]).float() for part in load_diabetes(return_X_y=True, scaled=False))
    X, y = ((part - part.mean(0)) / part.std(0) for part in (features[:, [2, 4, 5]], target))
    fits, elbos = {"NUTS": by_nuts(regression, X, y, num_samples=num_samples)}, {}
    for name, guide in GUIDES.items():
        fits[name], elbos[name] = by_svi(regression, guide, X, y, steps=steps)
    draws = {name: torch.cat((of["weight"].reshape(-1, 3), of["noise"].reshape(-1, 1)), 1) for name, of in fits.items()}
    shown = {name: dict(zip(NAMES, columns.unbind(1), strict=True)) for name, columns in draws.items()}  # (S,) each
    widths = {name: columns.std(0).tolist() for name, columns in draws.items()}
    figures.save(figures.forest(shown), f"{out}/regression.png")
    results = {"log_prob": log_prob, "kl": gaps, "elbo": elbos, "standard_deviations": widths}
    print(json.dumps(results, indent=1))
    write_text(f"{out}/results.json", json.dumps(results, indent=1))


if __name__ == "__main__":
    sys.exit(script(main))
