"""Train Burda et al.'s two stochastic layers with k = 5 by the doubly reparametrised gradient of the same bound.

(Burda et al., 2015, arXiv:1509.00519; Tucker et al., 2018, arXiv:1810.04152.) ``python
scripts/reproductions/two_layers.py --root DIR`` takes about two hours of one core, goes on where it stopped, and writes
``two_layers.json`` and its learning curve.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from iwae import CELLS
from jsonargparse.typing import PositiveInt
from results import active_units, columns_beside_annealing, note_on_annealing
from setting import KEPT, Options, Setting, iwae_networks
from typing_extensions import Unpack

from pyrovae.cli import script

K, EPOCHS, LEARNING_RATE = 5, 300, 1.5e-3
*_, OWN_EPOCHS, OWN_LEARNING_RATE, PUBLISHED = CELLS["2-iwae-5"]


def main(
    num_samples: PositiveInt = 5000,
    num_annealed: PositiveInt = 1000,
    temperatures: PositiveInt = 100,
    **options: Unpack[Options],
) -> None:
    """Train two stochastic layers by DReG, and evaluate them as the paper does and by annealing.

    Args:
        num_samples: number K of importance samples, at least 2.
        num_annealed: number of test images that are annealed, from the first, at least 2.
        temperatures: number T of temperatures.
        options: options of every reproduction.
    """
    setting = Setting("two_layers", **options)
    setting.begin(num_samples=num_samples, num_annealed=num_annealed)
    other = own_gradient() if setting.root is not None else None
    words = [*setting.data(validation_size=100), *iwae_networks(2), *setting.cosine(LEARNING_RATE, EPOCHS)]
    words += ["--objective", "DReG", "--objective.num_particles", str(K), "--batch_size", "128"]
    run = setting.train("dreg", [*words, "--compile", "inductor"], EPOCHS)
    _, row = setting.judge(run, num_samples, num_annealed, temperatures, weights="last")
    row |= {"model": f"2 layers, DReG, k = {K}", "published": PUBLISHED, "difference": row["nll"] - PUBLISHED}
    row |= {"units": "+".join(map(str, active_units(run, num_annealed).values()))}
    setting.keep("two_layers", record([row], num_samples, num_annealed, temperatures, other), {"dreg": run})


def own_gradient() -> float:
    """Return the NLL that ``iwae.py`` found after training by the bound's own gradient, in nats."""
    file = Path(__file__).parents[2] / KEPT / "iwae.json"
    kept = json.loads(file.read_text(encoding="utf-8"))
    return next(row["nll"] for row in kept["rows"] if row["published"] == PUBLISHED)


def record(rows: list[dict], num_samples: int, num_annealed: int, temperatures: int, other: float | None) -> dict:
    """Return what is kept: the protocol beside the paper's, and the table; ``other`` is the result of iwae.py."""
    note = "NLL in nats per test image; lower is better."
    if other is not None:
        note += f" By the bound's own gradient, in {OWN_EPOCHS:,} epochs at {OWN_LEARNING_RATE:g}, it was {other:.2f}."
    return {
        "title": "Two stochastic layers by DReG",
        "source": "The network, bound and figure of Burda, Grosse & Salakhutdinov (2015), arXiv:1509.00519; the "
        "gradient of Tucker, Lawson, Gu & Maddison (2018), arXiv:1810.04152",
        "protocol": [
            ("bound", "importance-weighted, k = 5", "the same"),
            ("gradient of the encoder", "the bound's own", "doubly reparametrised: the same mean, less noise"),
            ("learning rate", "1e-3 to 1e-4 in 8 stages", f"{LEARNING_RATE:g}, to 0 as a cosine"),
            ("epochs", "3,280, in batches of 20", f"{EPOCHS:,}, in batches of 128"),
            ("all else", "as in the first table of this page", "as in the first table of this page"),
        ],
        "deviations": [
            "The epochs are as many as there was time for, and the learning rate is a guess: no other was tried.",
        ],
        "columns": [
            ("model", "", ""),
            ("published", "published", ".2f"),
            ("nll", "ours", ".2f"),
            ("difference", "difference", "+.2f"),
            *columns_beside_annealing(num_samples, num_annealed),
            ("units", "active units", ""),
        ],
        "rows": rows,
        "notes": [
            note,
            note_on_annealing(num_annealed, temperatures, num_samples),
        ],
        "findings": [],
    }


if __name__ == "__main__":
    sys.exit(script(main))
