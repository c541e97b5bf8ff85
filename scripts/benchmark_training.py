"""Time an epoch of pyrovae's fit against a hand-written PyTorch loop on the same data path.

The contenders take turns epoch by epoch in one process, so that a change of the machine's speed meets all
of them; what is printed are medians over the rounds, and ratios to the hand-written loop with plain Adam.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

import pyro
import torch
import torch.nn.functional as F
from torch import nn

from pyrovae import MLP, MNIST, VAE, Bernoulli, DataSet, DiagonalNormal, Digits, History, StandardNormal, fit

ARCHITECTURES = {"A": (20, (400,), nn.ReLU), "B": (50, (200, 200), nn.Tanh)}


def make_vae(architecture: str, data: DataSet) -> VAE:
    latent_dim, hidden_features, activation = ARCHITECTURES[architecture]
    network = partial(MLP, hidden_features=hidden_features, activation=activation)
    shape = data.data_shape
    return VAE(
        StandardNormal(latent_dim), Bernoulli(shape, latent_dim, network), DiagonalNormal(shape, latent_dim, network)
    )


def hand_written(vae: VAE, data: DataSet, batch_size: int, fused: bool) -> Callable[[], None]:
    encoder, decoder = vae.posterior.network, vae.likelihood.network
    optimizer = torch.optim.Adam(vae.parameters(), fused=fused)

    def epoch() -> None:
        for x in data.train.batches(batch_size, shuffle=True):
            loc, raw_scale = encoder(x).chunk(2, -1)
            scale = F.softplus(raw_scale) + 1e-4
            z = loc + scale * torch.randn_like(scale)
            kl = ((scale**2 + loc**2 - 1) / 2 - scale.log()).sum()
            loss = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum") + kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=None, help="folder that holds MNIST; without it, the embedded digits")
    parser.add_argument("--architecture", choices=sorted(ARCHITECTURES), default="B")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    # fit validates after each epoch: a validation split of one batch keeps that out of the comparison.
    data = (
        Digits(validation_size=options.batch_size)
        if options.root is None
        else MNIST(options.root, validation_size=options.batch_size)
    )
    print(f"architecture {options.architecture}, batch {options.batch_size}, {data!r}")
    print(f"torch {torch.__version__}, pyro {pyro.__version__}, {platform.machine()}, {options.threads} threads")
    for compile in ("graph", "off"):
        torch.manual_seed(options.seed)
        measure(compile, options, data)


def measure(compile: Literal["graph", "off"], options: argparse.Namespace, data: DataSet) -> None:
    seconds: dict[str, list[float]] = {}
    peers = {
        f"hand-written, {label}": hand_written(make_vae(options.architecture, data), data, options.batch_size, fused)
        for label, fused in (("Adam()", False), ("Adam(fused=True)", True))
    }

    def let_peers_run(history: History, _: object) -> None:
        for name, epoch in peers.items():
            start = time.perf_counter()
            epoch()
            seconds.setdefault(name, []).append(time.perf_counter() - start)
        print(f"compile {compile}: round {len(history.epochs)} of {options.rounds + 1}", file=sys.stderr)

    vae = make_vae(options.architecture, data)
    history = fit(
        vae.model,
        vae.guide,
        data,
        epochs=options.rounds + 1,
        batch_size=options.batch_size,
        compile=compile,
        progress=False,
        callback=let_peers_run,
    )
    seconds[f"pyrovae, compile={compile}"] = [row.seconds for row in history.epochs]
    reference = seconds["hand-written, Adam()"][1:]
    for name, times in seconds.items():
        ratios = [time / against for time, against in zip(times[1:], reference, strict=True)]
        print(
            f"  {name:32} {statistics.median(times[1:]):7.3f} s an epoch, "
            f"{statistics.median(ratios):.3f} x Adam() (from {min(ratios):.3f} to {max(ratios):.3f})"
        )


if __name__ == "__main__":
    main()
