"""Walk between test images in the latent space, and add the difference of two classes to a third image's code.

Interpolation within and between digits is from "Introducing Variational Autoencoders (in Prose and Code)" (2016), where
it is linear; on a sphere it is White's (2016, arXiv:1609.04468), and attribute vectors are those of Larsen et al.
(2016, arXiv:1512.09300). ``python scripts/examples/interpolation.py --data.root DIR`` writes ``interpolation.png``,
``attributes.png`` and ``results.json``.
"""

from __future__ import annotations

import json
import sys

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.distributions import Bernoulli as Coin

from pyrovae import MNIST, VAE, Bernoulli, DiagonalNormal, StandardNormal, checks, decode, encode, figures, fit
from pyrovae.cli import script
from pyrovae.data import or_digits
from pyrovae.files import write_text
from pyrovae.prediction import class_direction, linear_path, spherical_path
from pyrovae.runs import DataFactory


def main(
    data: DataFactory = MNIST,
    latent_dim: int = 20,
    epochs: int = 12,
    pairs: tuple[tuple[int, int], ...] = ((2, 2), (5, 5), (1, 3), (0, 4)),
    changes: tuple[tuple[int, int], ...] = ((4, 9), (3, 8), (5, 6)),
    steps: int = 9,
    seed: int = 0,
    out: str = "runs/interpolation",
) -> None:
    """Walk between test images in the latent space, and add the difference of two classes to a third image's code.

    Args:
        data: the data set, with labels; the embedded digits where its files are missing.
        latent_dim: number of latents.
        epochs: passes over the training images.
        pairs: classes between whose images to walk.
        changes: classes whose images are changed, and into which.
        steps: images on a way.
        seed: of all that is random.
        out: folder for the pictures and results.
    """
    torch.manual_seed(checks.seed(seed))
    checks.integer("steps", steps, 2)
    images = or_digits(data, labelled=True)
    shape, labels = images.data_shape, images.test.labels[:2000]
    for name in {name for pair in (*pairs, *changes) for name in pair}:
        if int((labels == name).sum()) < 2:
            raise checks.InputError(
                f"pairs and changes must be of classes with two test images or more, but {name} has fewer"
            )
    vae = VAE(StandardNormal(latent_dim), Bernoulli(shape, latent_dim), DiagonalNormal(shape, latent_dim))
    fit(vae.model, vae.guide, images, epochs=epochs, batch_size=128)

    def decoded(z: Tensor) -> Tensor:
        return decode(vae.model, {"z": z}, shape)

    x = images.test[:2000]
    codes = encode(vae.guide, x)["z"]
    paths = {"straight": linear_path, "spherical": spherical_path}
    rows = {}
    for first, second in pairs:
        start, end = (labels == first).nonzero()[0], (labels == second).nonzero()[1]  # two images of one class, too
        for name, path in paths.items():
            way = decoded(path(codes[start], codes[end], steps).flatten(0, 1))
            rows[f"{first} to {second}, {name}"] = torch.cat((x[start], way, x[end]))
    title = "test images at the ends, and decoded codes on the way between theirs"
    figures.save(figures.labelled_rows(rows, title), f"{out}/interpolation.png")

    other = codes[torch.randperm(len(codes))]
    results: dict[str, dict[str, float]] = {}
    for name, z in {
        "ends": codes,
        **{f"{name} midpoints": path(codes, other, 3)[1] for name, path in paths.items()},
        "prior": torch.randn_like(codes),
    }.items():
        doubt = Coin(decoded(z)).entropy().flatten(1).sum(1)
        results[name] = {"norm": z.norm(dim=1).mean().item(), "entropy": doubt.mean().item()}
        print(f"{name}: norm of z {results[name]['norm']:.2f}, entropy of p(x|z) {results[name]['entropy']:.1f} nats")

    some = images.train[:10_000]
    train_labels = images.train.labels[: len(some)]
    train_codes = encode(vae.guide, some)["z"]
    known = train_labels >= 0
    judge = LogisticRegression(max_iter=1000)  # of images, not of codes
    judge.fit(some[known].flatten(1), train_labels[known])
    strengths = torch.linspace(0, 1.5, 7)
    rows = {}
    for first, second in changes:
        direction = class_direction(train_codes, train_labels, to=second, source=first)
        z = codes[labels == first]
        moved = [decoded(z + strength * direction) for strength in strengths]
        rows |= {f"{first} towards {second} ({i + 1})": torch.stack([part[i] for part in moved]) for i in range(2)}
        shares = [float((judge.predict(part.flatten(1)) == second).mean()) for part in moved]
        results[f"{first} read as {second}"] = told = dict(zip(map("{:g}".format, strengths), shares, strict=True))
        print(f"{first} + s (mean {second} - mean {first}), read as {second}:", *(f"{v:.0%}" for v in told.values()))
    title = "codes plus 0, 1/4, ... 3/2 times the difference of the two classes' means"
    figures.save(figures.labelled_rows(rows, title), f"{out}/attributes.png")
    write_text(f"{out}/results.json", json.dumps(results, indent=2))


if __name__ == "__main__":
    sys.exit(script(main))
