"""Measure what a better likelihood costs: importance sampling and annealing of one run, against a long annealing.

``python scripts/benchmarks/likelihood.py runs/mnist --num_data 200`` prints a table as Markdown. Times are multiples
of that of importance sampling with K = 5,000, in the same process, the contenders taking turns over batches of images.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch
from jsonargparse import auto_cli

from pyrovae import Adaptive, Annealed, Estimator, Importance, LogMarginal, log_marginal, sandwich
from pyrovae.evaluation.likelihood.concatenation import concatenate
from pyrovae.runs import Run, first_data, template_of


@dataclass
class Contender:
    name: str
    estimator: Estimator
    seconds: float = 0.0
    parts: list[LogMarginal] = field(default_factory=list)


def contenders(longest: int) -> list[Contender]:
    made = [Contender("importance, K = 5,000", Importance(5000))]
    made += [
        Contender(f"importance, K = 5,000, widened by {scale}", Importance(5000, proposal_scale=scale))
        for scale in (1.1, 1.2)
    ]
    made += [
        Contender(f"annealed, T = {T}, {C} chains", Annealed(num_temperatures=T, num_chains=C, num_prior_chains=0))
        for T, C in ((25, 16), (50, 16), (100, 8), (100, 16), (200, 16), (longest, 8))
    ]
    return made


def main(
    run: str,
    num_data: int = 200,
    longest: int = 1000,
    num_simulated: int = 100,
    threads: int | None = None,
    targets: tuple[float, ...] = (0.6, 0.4, 0.1),
    most_samples: int = 50_000,
    num_fixed: int = 50,
    seed: int = 0,
) -> None:
    """Measure.

    Args:
        run: a trained run's folder.
        num_data: the first so many test images.
        longest: temperatures of the long annealing.
        num_simulated: images to simulate for the sandwich.
        threads: of torch.
        targets: errors to reach by effort where it is needed, in nats.
        most_samples: the largest K of importance sampling that they are compared with.
        num_fixed: on the first so many images.
        seed: of the samples.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(seed)
    data, program = Run(run).load()
    batch = first_data(program, data.test, num_data)
    arguments = batch if isinstance(batch, tuple) else (batch,)
    made = contenders(longest)
    log_marginal(program.model, program.guide, tuple(part[:100] for part in arguments), num_samples=500)  # warms up
    for position in torch.arange(len(arguments[0])).split(125):
        part = tuple(value[position] for value in arguments)
        for contender in made:
            start = time.perf_counter()
            result = log_marginal(program.model, program.guide, part, contender.estimator, num_draws=0)
            contender.parts.append(result)
            contender.seconds += time.perf_counter() - start
    reference = concatenate(made[-1].parts)
    print(f"\n{num_data} test images, seed {seed}, {torch.get_num_threads()} threads\n")
    print("| | NLL, nats | Monte Carlo error | above the last row | time | decoder runs an image |")
    print("|---|---|---|---|---|---|")
    for contender in made:
        result = concatenate(contender.parts)
        above = (reference.log_prob - result.log_prob).mean().item()
        error = (reference.standard_error.square() + result.standard_error.square()).sum().sqrt().item() / num_data
        last = "" if contender is made[-1] else f"{above:+.3f} ± {error:.3f}"
        print(
            f"| {contender.name} | {result.nll:.3f} | {result.monte_carlo_error:.3f} | {last} "
            f"| {contender.seconds / made[0].seconds:.2f} | {int(result.num_evaluations[0])} |"
        )
    few = tuple(part[:num_fixed] for part in arguments)
    levels = log_marginal(program.model, program.guide, few, num_samples=most_samples, num_draws=0).convergence
    assert levels is not None
    fixed = (reference.log_prob[:num_fixed] - levels.bound).mean(1)  # by K
    for K, short in zip(levels.num_samples.tolist(), fixed.tolist(), strict=True):
        if K >= 1000:
            print(f"K = {K:,} on the first {num_fixed}: {short:+.3f}")
    print("\n| adaptive | NLL, nats | above | decoder runs an image | annealed | a fixed K as close |")
    print("|---|---|---|---|---|---|")
    for target in targets:
        torch.manual_seed(seed)
        result = log_marginal(program.model, program.guide, batch, Adaptive(target), num_draws=0)
        assert result.adaptive is not None
        above = (reference.log_prob - result.log_prob)[:num_fixed].mean().item()
        runs = result.num_evaluations[:num_fixed].double().mean().item()
        enough = levels.num_samples[fixed <= above]
        most = int(levels.num_samples[-1])
        K = f"{int(enough[0]):,}" if len(enough) else f"more than {most:,}"
        factor = (int(enough[0]) if len(enough) else most) / runs
        print(
            f"| target {target} | {result.nll:.3f} | {above:+.3f} | {runs:,.0f} "
            f"| {result.adaptive.num_annealed / num_data:.0%} | {K}: {factor:.1f} times as many |"
        )
    print(f"\nimportance sampling took {1000 * made[0].seconds / num_data:.1f} ms an image")
    for contender in (made[0], made[-3], made[-1]):
        bounds = sandwich(
            program.model,
            program.guide,
            template_of(program, data),
            contender.estimator,
            num_simulated=num_simulated,
        )
        print(f"{contender.name}: {bounds.sentence}")


if __name__ == "__main__":
    auto_cli(main, as_positional=True)
