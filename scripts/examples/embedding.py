"""Take the means of q(z|x) as features: what a linear probe and neighbours tell from them, and maps of them.

Readers of "Variational Autoencoders Explained" (2016) ask which part of a VAE to take as the code, and report 95 % of
the digits told by a linear probe of it; what is compared here are pixels, principal components and the means. ``python
scripts/examples/embedding.py --data.root DIR`` writes ``map.png`` and ``results.json``.
"""

from __future__ import annotations

import json
import sys

import torch
from jsonargparse.typing import PositiveInt
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from pyrovae import MNIST, VAE, Bernoulli, DiagonalNormal, StandardNormal, checks, encode, figures, fit
from pyrovae.cli import script
from pyrovae.data import or_digits
from pyrovae.evaluation import linear_probe, neighbour_probe
from pyrovae.files import write_text
from pyrovae.runs import DataFactory


def main(
    data: DataFactory = MNIST,
    latent_dim: int = 20,
    epochs: int = 12,
    num_learned: PositiveInt = 10_000,
    num_mapped: PositiveInt = 3000,
    seed: int = 0,
    out: str = "runs/embedding",
) -> None:
    """Take the means of q(z|x) as features: what a linear probe and neighbours tell from them, and maps of them.

    Args:
        data: the data set, with labels; the embedded digits where its files are missing.
        latent_dim: number of latents, and of principal components.
        epochs: passes over the training images, without their labels.
        num_learned: training images from which the probes learn.
        num_mapped: test images on the maps.
        seed: of all that is random.
        out: folder for the picture and results.
    """
    torch.manual_seed(checks.seed(seed))
    checks.integer("latent_dim", latent_dim, 2)
    checks.integer("num_mapped", num_mapped, 31)  # more than t-SNE's perplexity
    images = or_digits(data, labelled=True)
    shape = images.data_shape
    vae = VAE(StandardNormal(latent_dim), Bernoulli(shape, latent_dim), DiagonalNormal(shape, latent_dim))
    fit(vae.model, vae.guide, images, epochs=epochs, batch_size=128)

    train, test = images.train[:num_learned], images.test[:]
    labels, test_labels = images.train.labels[:num_learned], images.test.labels
    flat = train.flatten(1)
    pca = PCA(min(latent_dim, *flat.shape), random_state=seed).fit(flat)
    codes, test_codes = encode(vae.guide, train)["z"], encode(vae.guide, test)["z"]
    features = {
        "pixels": (train, test),
        f"{pca.n_components} principal components": [
            torch.from_numpy(pca.transform(x.flatten(1))) for x in (train, test)
        ],
        f"{latent_dim} means of the VAE": (codes, test_codes),
    }
    results = {}
    for name, (learned, told) in features.items():
        results[name] = {
            "linear_probe": linear_probe(learned, labels, told, test_labels),
            "neighbour_probe": neighbour_probe(learned, labels, told, test_labels),
        }
        print(f"{name}:", ", ".join(f"{probe} {share:.2%}" for probe, share in results[name].items()))

    some = test_codes[:num_mapped]
    neighbours = TSNE(random_state=seed).fit_transform(some.numpy())
    maps = {
        "the first two principal components of the means": torch.from_numpy(PCA(2).fit_transform(some)),
        "t-SNE of the means": torch.from_numpy(neighbours),
    }
    figures.save(figures.latent_maps(maps, test_labels[:num_mapped]), f"{out}/map.png")
    write_text(f"{out}/results.json", json.dumps(results, indent=2))


if __name__ == "__main__":
    sys.exit(script(main))
