"""Published likelihoods of deeper models of dynamically binarised MNIST, beside those of the reproductions."""

from __future__ import annotations

from typing import Any

# Negative log-likelihoods of the test images in nats, read second-hand.
PUBLISHED = [
    ("discrete VAE, Rolfe (2017), arXiv:1609.02200", 80.15),
    ("variational lossy autoencoder, Chen et al. (2017), arXiv:1611.02731", 78.53),
    ("BIVA, Maaløe et al. (2019), arXiv:1902.02102", 78.41),
    ("NVAE, Vahdat & Kautz (2020), arXiv:2007.03898", 78.01),
]
# How the rows of each reproduction are named.
OURS = {"iwae": "{model}", "vampprior": "gated networks, prior: {prior}"}


def beside(records: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return published and our own likelihoods, from the worst to the best; none if no reproduction is of MNIST."""
    ours = [
        {"model": name.format(**row), "nll": row["nll"], "source": f"here, {records[record]['title']}"}
        for record, name in OURS.items()
        if record in records and records[record]["data"] == "MNIST"
        for row in records[record]["rows"]
    ]
    theirs = [{"model": model, "nll": nll, "source": "published"} for model, nll in PUBLISHED]
    return sorted(ours + theirs, key=lambda row: -row["nll"]) if ours else []
