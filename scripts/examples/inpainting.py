"""Fill in the missing half of test images, after training on images of which a part is missing.

A VAE is trained on images that lack a rectangle each, at a random place, by the likelihood of the observed pixels alone
(Mattei & Frellsen, 2019, arXiv:1812.02633). Then the lower half of test images is removed, a gap that it has never
seen, and imputed: by the mean given the upper half, and by draws of what could be there.
``python scripts/examples/inpainting.py --data.root DIR`` writes ``inpainting.png`` and ``results.json``.
"""

from __future__ import annotations

import json
import sys
from functools import partial

import torch
from torch import Tensor

from pyrovae import (
    MNIST,
    VAE,
    Annealed,
    Bernoulli,
    DataSet,
    DiagonalNormal,
    StandardNormal,
    WithMask,
    checks,
    figures,
    fit,
    impute,
)
from pyrovae.cli import script
from pyrovae.data import or_digits
from pyrovae.files import write_text
from pyrovae.missing import fill_missing
from pyrovae.runs import DataFactory


def main(
    data: DataFactory = partial(MNIST, binarization="none"),
    latent_dim: int = 20,
    epochs: int = 20,
    num_train: int = 20_000,
    num_data: int = 200,
    num_shown: int = 10,
    num_imputations: int = 5,
    num_temperatures: int = 50,
    seed: int = 0,
    out: str = "runs/inpainting",
) -> None:
    """Fill in the missing half of test images, after training on images of which a part is missing.

    Args:
        data: the data set of grey values; the embedded digits where its files are missing.
        latent_dim: number of latents.
        epochs: passes over the training images.
        num_train: number of training images.
        num_data: number of test images whose half is imputed.
        num_shown: number of these in the picture.
        num_imputations: number of draws of each.
        num_temperatures: number of temperatures of the annealed chains.
        seed: of all that is random.
        out: folder for the picture and results.
    """
    torch.manual_seed(checks.seed(seed))
    images = or_digits(data)
    shape = images.data_shape
    gappy = without_rectangles(images.train[torch.arange(min(num_train, len(images.train)))])
    kept = ~gappy.isnan().flatten(1).all(1)
    train = DataSet(gappy[kept], binarization="dynamic", test_size=1, seed=seed)
    vae = VAE(StandardNormal(latent_dim), Bernoulli(shape, latent_dim), DiagonalNormal(shape, latent_dim, WithMask))
    vae.initialize(train.train[:4096])
    fit(vae.model, vae.guide, train, epochs=epochs, batch_size=128)

    whole = (images.test[:num_data] >= 0.5).float()
    half = whole.clone()
    half[..., shape[-2] // 2 :, :] = torch.nan
    gap = half.isnan()
    results: dict[str, float] = {"missing_in_training": gappy.isnan().float().mean().item()}
    rows = {"test image": whole, "what is given": half.nan_to_num(0.35)}
    estimators = {"samples": None, "chains": Annealed(num_temperatures)}
    for name, estimator in estimators.items():
        found = impute(vae.model, vae.guide, half, estimator, num_imputations=num_imputations)
        results[f"reliable_by_{name}"] = found.reliable.double().mean().item()
        results[f"rmse_by_{name}"] = rmse(found.mean, whole, gap)
    columns = train.train[:4096].nanmean(0)
    results["rmse_of_means"] = rmse(columns.expand_as(whole), whole, gap)
    rows["mean of the rest"] = found.mean
    rows |= {f"draw {i + 1}": draw for i, draw in enumerate(found.imputations)}
    title = "upper half given: the mean of the lower half, and draws of it"
    shown = {name: part[:num_shown] for name, part in rows.items()}
    figures.save(figures.labelled_rows(shown, title), f"{out}/inpainting.png")
    write_text(f"{out}/results.json", json.dumps(results, indent=2))
    for name, value in results.items():
        print(f"{name.replace('_', ' ')}: {value:.4f}")


def without_rectangles(x: Tensor) -> Tensor:
    """Return images ``(N, C, H, W)``, each without a rectangle of a quarter to all of its height and width."""
    _, _, H, W = x.shape
    height, width = ((torch.rand(len(x), 2) * 0.75 + 0.25) * torch.tensor([H, W])).long().unbind(1)
    top, left = ((torch.rand(len(x)) * (size + 1 - part)).long() for size, part in ((H, height), (W, width)))
    row, column = torch.arange(H), torch.arange(W)
    rows = (row >= top[:, None]) & (row < (top + height)[:, None])  # (N, H)
    columns = (column >= left[:, None]) & (column < (left + width)[:, None])  # (N, W)
    return torch.where((rows[:, None, :, None] & columns[:, None, None, :]).to(x.device), torch.nan, fill_missing(x))


def rmse(found: Tensor, whole: Tensor, gap: Tensor) -> float:
    """Return the root mean squared error of the missing pixels."""
    return (found - whole)[gap].square().mean().sqrt().item()


if __name__ == "__main__":
    sys.exit(script(main))
