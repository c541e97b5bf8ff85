"""Reproduce what "On the Quantitative Analysis of Decoder-Based Generative Models" found of IWAE's bound, on MNIST.

(Wu, Burda, Salakhutdinov & Grosse, 2016, arXiv:1611.04273.) Decoders of few and many latents, narrow and wide, are
judged by importance sampling, by annealing, and both by BDMC. ``python scripts/reproductions/annealing.py --root DIR``
takes half an hour of one core, goes on where it stopped, and leaves ``annealing.json``, its curves and its picture.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from jsonargparse.typing import PositiveInt
from results import paired
from setting import Options, Setting, tanh
from typing_extensions import Unpack

from pyrovae import Annealed, Importance, checks, figures
from pyrovae.cli import script
from pyrovae.figures.base import COLOURS, blank
from pyrovae.runs import Run, StoredEvaluation

LATENTS, WIDTH = 50, 200  # of the decoders that differ in the other
LEARNING_RATE = 3e-3
SAMPLES = (5, 50, 500)  # K of the bounds beside that of --num_samples


def main(
    latents: tuple[PositiveInt, ...] = (2, 10, 50),
    widths: tuple[PositiveInt, ...] = (50, 200, 800),
    num_data: PositiveInt = 500,
    num_samples: PositiveInt = 5000,
    temperatures: PositiveInt = 300,
    num_simulated: PositiveInt = 100,
    **options: Unpack[Options],
) -> None:
    """Train VAEs of several sizes, estimate log p(x) by importance sampling and annealing, and bracket both.

    Args:
        latents: numbers of latents of the decoders of width 200.
        widths: widths of the decoders of 50 latents.
        num_data: number of test images, from the first, at least 2.
        num_samples: number K of importance samples, at least 2.
        temperatures: number T of temperatures.
        num_simulated: images that each decoder makes for its sandwich, at least 2.
        options: options of every reproduction.
    """
    if not (latents and widths):
        raise checks.InputError(f"latents and widths must hold integers, but {latents} and {widths} were given")
    setting = Setting("annealing", **options)
    setting.begin(num_data=num_data, num_samples=num_samples, num_simulated=num_simulated)
    trained, rows, planned = {}, [], 30
    for D, H in dict.fromkeys([(D, WIDTH) for D in sorted(latents)] + [(LATENTS, H) for H in sorted(widths)]):
        words = [*setting.data(validation_size=100), *program(D, H), *setting.cosine(LEARNING_RATE, planned)]
        run = trained[f"{D}-{H}"] = setting.train(f"{D}-{H}", [*words, "--batch_size", "128"], planned)
        common: dict[str, Any] = {"weights": "last", "num_data": num_data, "num_simulated": num_simulated}
        common |= {"sandwich": True, "reverse__num_temperatures": temperatures}
        sampled = setting.evaluate(run, Importance(num_samples), **common)
        annealed = setting.evaluate(run, Annealed(temperatures), **common)
        rows.append({"latents": D, "width": H, **measured(run, sampled, annealed)})
    figures.save(drawn(rows, num_samples), f"{setting.out}/annealing.png", dpi=110)
    setting.keep("annealing", record(rows, num_data, num_samples, temperatures, num_simulated), trained)


def program(latents: int, width: int) -> list[str]:
    """Return the words that choose the architecture; the encoder is always the same."""
    return ["--latent_dim", str(latents), *tanh("likelihood", width), *tanh("posterior", WIDTH)]


def measured(run: Run, sampled: StoredEvaluation, annealed: StoredEvaluation) -> dict[str, float]:
    """Return the NLLs of a decoder, the gaps of the bounds below annealing, and the sandwich's of both, in nats."""
    row = {"elbo": sampled.result.elbo.mean().item(), "sampled": sampled.result.nll, "annealed": annealed.result.nll}
    curve = run.values(sampled.name).sample_stats
    for level, K in enumerate(curve["convergence_num_samples"].values.tolist()):
        bound = torch.tensor(curve["convergence_bound"].values[level])  # (B,)
        fewer = replace(sampled, result=replace(sampled.result, log_prob=bound))
        row[f"gap_{K}"], row[f"gap_{K}_error"] = paired(fewer, annealed)
        row[f"gap_{K}_median"] = (annealed.result.log_prob - bound).median().item()
    for name, evaluated in (("sampling", sampled), ("annealing", annealed)):
        sandwich = run.evaluations()[evaluated.name]["sandwich"]
        row[f"{name}_sandwich"], row[f"{name}_sandwich_error"] = sandwich["gap"], sandwich["gap_error"]
    return row


def drawn(rows: list[dict], num_samples: int) -> Any:
    """Draw how far bounds of K samples lie below annealing, by number of latents and by the decoder's width."""
    figure = blank(8.8, 3.8)
    shown = enumerate([*(K for K in SAMPLES if num_samples > K), num_samples])
    lines = [(f"gap_{K}", f"IWAE-{K}, to annealing", COLOURS[i], "o-") for i, K in shown]
    lines += [("annealing_sandwich", "annealing, to BDMC's bound", COLOURS[8], "s--")]
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, of, chosen in ((left, "latents", by(rows, "latents")), (right, "width", by(rows, "width"))):
        x = [row[of] for row in chosen]
        for key, label, colour, style in lines:
            y, error = [row[key] for row in chosen], [row[f"{key}_error"] for row in chosen]
            axes.errorbar(x, y, error, fmt=style, color=colour, label=label, markersize=4, capsize=3)
        axes.set_xscale("log")
        axes.set_yscale("symlog", linthresh=0.1)
        axes.set_xticks(x, list(map(str, x)))
        axes.set_yticks([0, 0.1, 1, 10], ["0", "0.1", "1", "10"])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    left.set(xlabel=f"latents, of a decoder {WIDTH} wide", ylabel="gap, nats per image")
    right.set(xlabel=f"width of a decoder of {LATENTS} latents")
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=9)
    return figure


def by(rows: list[dict], of: str) -> list[dict]:
    """Return the decoders that differ in this alone, in its order."""
    other, value = ("width", WIDTH) if of == "latents" else ("latents", LATENTS)
    return sorted((row for row in rows if row[other] == value), key=lambda row: row[of])


def record(rows: list[dict], images: int, samples: int, temperatures: int, simulated: int) -> dict:
    """Return what is kept: the protocol beside the paper's, the table, and whether its findings come out."""
    gap, bound = f"gap_{samples}", f"IWAE-{samples}"

    def told(of: str) -> str:
        return ", ".join(f"{row[gap]:.2f} ± {row[f'{gap}_error']:.2f} ({row[of]})" for row in by(rows, of))

    like = [row for row in rows if row["latents"] >= 10]  # as the paper's decoders
    below = sum(row[gap] > 2 * row[f"{gap}_error"] for row in like)
    bracketed = sum(row["annealing_sandwich"] > -4 * row["annealing_sandwich_error"] for row in rows)
    closer = sum(abs(row["annealing_sandwich"]) < abs(row["sampling_sandwich"]) for row in like)
    widest = max(abs(row["annealing_sandwich"]) for row in rows)
    findings = {
        f"{bound} underestimates log p(x): of {len(like)} decoders of 10 latents or more, {below} have it below "
        "annealing by more than two standard errors.": below == len(like),
        f"Its gap grows with the number of latents: {told('latents')} nats (latents in brackets).": all(
            many[gap] - few[gap] > 2 * math.hypot(few[f"{gap}_error"], many[f"{gap}_error"])
            for few, many in pairwise(by(rows, "latents"))
        ),
        f"BDMC's upper bound is not below annealing by more than four standard errors with {bracketed} of {len(rows)} "
        f"decoders, and within {widest:.3f} nats of it.": bracketed == len(rows),
        f"Annealing is closer to BDMC's upper bound than {bound} with {closer} of {len(like)} decoders of 10 latents "
        "or more.": closer == len(like),
    }
    columns = [("latents", "latents", "d"), ("width", "width", "d"), ("elbo", "ELBO", ".2f")]
    columns += [("sampled", f"NLL by {bound}", ".2f"), ("annealed", "NLL by annealing", ".2f")]
    headings = ({"gap_50": "gap of IWAE-50"} if samples > 50 else {}) | {gap: f"gap of {bound}"}
    headings |= {"annealing_sandwich": "annealing to BDMC's bound", "sampling_sandwich": f"{bound} to BDMC's bound"}
    for key, heading in headings.items():
        columns += [(key, heading, ".3f"), (f"{key}_error", "±", ".3f")]
        columns += [(f"{gap}_median", "its median", ".3f")] if key == gap else []
    caption = "Gaps of IWAE's bounds to annealing, on test images, and of annealing to BDMC's bound, on simulated ones"
    return {
        "title": "Annealing against importance sampling",
        "source": "Wu, Burda, Salakhutdinov & Grosse (2016), arXiv:1611.04273, and github.com/tonywu95/eval_gen",
        "theirs": "their code",
        "protocol": [
            ("data", "MNIST, continuous, with uniform noise", "MNIST, binarised at every step, the test set once"),
            ("models", "VAE, GAN, GMMN; Gaussian of one fixed variance", "VAE; Bernoulli"),
            ("decoders", "10-64-256-256-1024-784, 50-1024-1024-1024-784; tanh", "latents-width-width-784; tanh"),
            ("training", "not seen by us", f"Adam at {LEARNING_RATE:g}, falling to 0 like a cosine, batches of 128"),
            ("K of IWAE", "an option, 16 by default", f"{samples:,}, and fewer"),
            ("temperatures", "10,000", f"{temperatures:,}"),
            ("chains, leapfrog steps", "16, 10", "16, 2"),
            ("start; step", "prior or encoder; one step size for all", "encoder; a step size by image and temperature"),
            ("BDMC", "100 images, 16 chains forward, 1 back", f"{simulated} images, 16 forward, 16 back"),
        ],
        "deviations": ["We could read its abstract and code, none of its tables: the findings are what we expected."],
        "columns": columns,
        "rows": rows,
        "pictures": [("annealing.png", caption)],
        "notes": [
            f"Nats per image. The gap of IWAE-K is how far its NLL is above annealing's, on the first {images:,} test "
            f"images, image by image; BDMC's bound is of {simulated} images that the decoder made itself.",
            "Where the mean of a gap is far above its median, it is due to few images. With the decoder's width the "
            f"gap of {bound} goes as {told('width')} nats (width in brackets).",
        ],
        "findings": list(findings.items()),
    }


if __name__ == "__main__":
    sys.exit(script(main))
