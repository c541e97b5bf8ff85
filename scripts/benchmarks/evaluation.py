"""Time the estimate of log p(x) with K = 5,000 importance samples, as a multiple of the decoder's matrix products.

The products are those of the decoder's layers alone, on inputs that lie ready, as many rows at a time as pyrovae takes.
The contenders have the same network, images and threads, and take turns in one process, so that a change of the
machine's speed meets all of them. The seconds of each round go to ``evaluation.json``; what is printed are medians over
the rounds. Annealing is compared to the products of its own runs of the decoder, each of which has a gradient in the
latents: twice the products. It is also timed on as many data as its chains fill a chunk with. pythae is left out where
it is not installed.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pyro.distributions as dist
import records
import torch
from architectures import ARCHITECTURES
from torch import Tensor, nn

from pyrovae import MNIST, VAE, Annealed, log_marginal
from pyrovae.execution.chunking import Chunks
from pyrovae.matmul import precision

K = 5000
SHAPE = (1, 28, 28)
PRODUCTS = "the decoder's products alone"
OURS, ROUNDED = "pyrovae, log_marginal", "pyrovae, log_marginal, bfloat16"
ANNEALED, FULL = "pyrovae, annealed", "pyrovae, annealed, full chunk"


def products(vae: VAE, rows: int) -> Callable[[], None]:
    """Return what takes the products of one run of the decoder on so many rows."""
    calls: list[Callable[[], Any]] = []

    def keep(layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        if isinstance(layer, nn.Linear):
            calls.append(partial(torch.addmm, layer.bias, given[0].clone(), layer.weight.t(), out=made.clone()))
        else:
            calls.append(partial(layer.forward, given[0].clone()))

    layers = [part for part in vae.likelihood.modules() if isinstance(part, nn.Linear | nn.ConvTranspose2d)]
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    with torch.no_grad():
        vae.likelihood.network(torch.randn(rows, vae.likelihood.latent_dim))
    for hook in hooks:
        hook.remove()

    @torch.no_grad()
    def run() -> None:
        for call in calls:
            call()

    return run


@torch.no_grad()
def by_hand(vae: VAE, x: Tensor, validate: bool) -> float:
    """Return the NLL as it is often written: an image at a time, by distributions of Pyro."""
    found = []
    for image in x:
        q = vae.posterior.forward(image)
        z = q.sample((K,))
        p = dist.Bernoulli(logits=vae.likelihood.network(z), validate_args=validate).to_event(3)
        log_weight = p.log_prob(image) + dist.Normal(0.0, 1.0).log_prob(z).sum(-1) - q.log_prob(z)
        found.append(log_weight.logsumexp(0).item() - math.log(K))
    return -statistics.fmean(found)


def of_pythae(vae: VAE) -> nn.Module:
    """Return pythae's model of the same networks."""
    from pythae.models import VAE as TheirVAE
    from pythae.models import VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def forward(self, x: Tensor) -> ModelOutput:
            q = vae.posterior(x).base_dist
            return ModelOutput(embedding=q.loc, log_covariance=2 * q.scale.log())

    class Decoder(BaseDecoder):
        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=vae.likelihood.network(z).sigmoid())

    config = VAEConfig(input_dim=SHAPE, latent_dim=vae.likelihood.latent_dim, reconstruction_loss="bce")
    return TheirVAE(config, encoder=Encoder(), decoder=Decoder()).eval()


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(options.seed)
    N = options.num_data
    x = load(options.root, N)
    vae = ARCHITECTURES[options.architecture].vae(SHAPE).eval()
    vae.likelihood.initialize(x)
    chunks = Chunks(None)
    chunks.choose(vae.model, (x,))
    print(f"architecture {options.architecture}, {N} images, K = {K}, chunks of {chunks.size}, {records.versions()}")

    annealed = log_marginal(vae.model, vae.guide, x, Annealed(num_prior_chains=0))
    contenders, left_out = contenders_of(vae, x)
    for contender in contenders.values():  # what is imported or chosen at the first call does not count
        contender()
    full = load(options.root, max(1, chunks.size // Annealed().num_chains))
    contenders[FULL] = lambda: log_marginal(vae.model, vae.guide, full, Annealed(num_prior_chains=0)).nll
    seconds, nll = measure(contenders, products(vae, chunks.size), N * K / chunks.size, options.rounds)
    results = {
        "seconds": seconds,
        "nll": nll,
        "gradients": int(annealed.num_evaluations[0]),
        "chunk": chunks.size,
        "full": len(full),
        "left_out": left_out,
    }
    settings = {
        "architecture": options.architecture,
        "data": "random binary images" if options.root is None else "MNIST",
        "num_data": N,
        "num_samples": K,
        "threads": options.threads,
    }
    records.keep(options.out, "evaluation", settings, results)
    show(results, N)


def load(root: str | None, count: int) -> Tensor:
    """Return so many test images of MNIST, or random ones."""
    if root is None:
        return torch.rand(count, *SHAPE).round()
    images = MNIST(root).test
    if count > len(images):
        sys.exit(f"--num_data must be at most {len(images)}, but {count} data are needed")
    return images[:count]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=None, help="folder that holds MNIST; without it, random binary images")
    parser.add_argument("--architecture", choices=sorted(ARCHITECTURES), default="B")
    parser.add_argument("--num_data", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=records.FOLDER, help="folder of the results")
    return parser.parse_args()


def contenders_of(vae: VAE, x: Tensor) -> tuple[dict[str, Callable[[], float]], dict[str, str]]:
    """Return what is compared, each of which returns its NLL, and why others are left out."""

    def rounded() -> float:
        with precision("bfloat16", x.device):
            return log_marginal(vae.model, vae.guide, x, num_samples=K).nll

    contenders: dict[str, Callable[[], float]] = {
        OURS: lambda: log_marginal(vae.model, vae.guide, x, num_samples=K).nll,
        ROUNDED: rounded,
        "by hand, dist.Bernoulli validated": lambda: by_hand(vae, x, validate=True),
        "by hand, dist.Bernoulli": lambda: by_hand(vae, x, validate=False),
        ANNEALED: lambda: log_marginal(vae.model, vae.guide, x, Annealed(num_prior_chains=0)).nll,
    }
    try:
        theirs = of_pythae(vae)
    except ImportError as error:
        print(f"pythae is left out: {error}", file=sys.stderr)
        return contenders, {"pythae, get_nll": f"{type(error).__name__}: {error}".splitlines()[0]}
    contenders["pythae, get_nll"] = lambda: -theirs.get_nll(x, K)
    contenders["pythae, get_nll(batch_size=1000)"] = lambda: -theirs.get_nll(x, K, batch_size=1000)
    return contenders, {}


def measure(
    contenders: dict[str, Callable[[], float]], run: Callable[[], None], runs: float, rounds: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return the seconds of each round, of the contenders and of so many runs of the products, and the last NLLs."""
    run()
    seconds: dict[str, list[float]] = {name: [] for name in (PRODUCTS, *contenders)}
    nll: dict[str, float] = {}
    for i in range(rounds):
        start = time.perf_counter()
        repetitions = max(1, round(runs))
        for _ in range(repetitions):
            run()
        seconds[PRODUCTS].append((time.perf_counter() - start) * runs / repetitions)
        for name, contender in contenders.items():
            start = time.perf_counter()
            with torch.no_grad():
                nll[name] = contender()
            seconds[name].append(time.perf_counter() - start)
        print(f"round {i + 1} of {rounds}", file=sys.stderr)
    return seconds, nll


def show(results: dict[str, Any], num_data: int) -> None:
    """Print the medians."""
    ours = results["seconds"][OURS]
    for name, recorded in results["seconds"].items():
        times = [time * num_data / results["full"] for time in recorded] if name == FULL else recorded
        runs = 2 * results["gradients"] / K if name in (ANNEALED, FULL) else 1.0
        own = [part * runs for part in results["seconds"][PRODUCTS]]
        ratios = [part / against for part, against in zip(times, own, strict=True)]
        to_ours = statistics.median(part / against for part, against in zip(times, ours, strict=True))
        print(
            f"  {name:34} {1e3 * statistics.median(times) / num_data:8.2f} ms an image, "
            f"{statistics.median(ratios):6.2f} x the products (from {min(ratios):.2f} to {max(ratios):.2f}), "
            f"{to_ours:6.2f} x log_marginal" + (f", NLL {results['nll'][name]:.2f}" if name in results["nll"] else "")
        )
    print(
        f"annealing: 16 chains of 100 temperatures, {results['gradients']} gradients an image, compared to their own "
        f"products; a full chunk has {results['full']} images"
    )


if __name__ == "__main__":
    main()
