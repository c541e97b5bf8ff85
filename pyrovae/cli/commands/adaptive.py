"""How ``pyrovae evaluate`` reaches a wanted error: with a bar, and a file to go on from."""

from __future__ import annotations

from typing import Any

from pyrovae import progress
from pyrovae.evaluation import Effort, log_marginal_within
from pyrovae.programs import Batch
from pyrovae.runs import Run, Unfinished

__all__ = ["within"]


def within(
    run: Run,
    name: str,
    program: Any,
    x: Batch,
    target_error: float,
    *,
    max_seconds: float | None = None,
    max_samples: int | None = None,
    seed: int = 0,
    num_checked: int = 10,
    num_draws: int = 10,
    chunk_size: int | None = None,
) -> Effort:
    """Estimate log p(x) of data to within an error, from where an earlier call of the same name stopped.

    Args:
        run: in whose folder the state is kept.
        name: of the state's file.
        program: the run's.
        x: all data.
        target_error: nats.
        max_seconds: wall-clock time of this call.
        max_samples: decoder runs in all.
        seed: of the samples.
        num_checked: data that chains from the prior estimate once more at the end.
        num_draws: posterior draws of each datum to keep.
        chunk_size: latents that go through the decoder at a time; by the program's size if not given.
    """
    data = x if isinstance(x, tuple) else (x,)
    file = Unfinished(run.folder / "evaluation" / f"{name}.safetensors", program, data, seed, num_draws)
    state = file.load()
    with progress.bar(name, max_samples, " decoder runs", unit_scale=True) as bar:

        def show(effort: Effort) -> None:
            errors = f"Monte Carlo error {effort.monte_carlo_error:.2g}, bias {effort.bias:.2g}"
            bar.set_postfix_str(f"{errors}, {effort.num_untrusted} untrusted", refresh=False)
            bar.update(effort.num_evaluations - bar.n)
            file.save(effort.state)

        effort = log_marginal_within(
            program.model,
            program.guide,
            x,
            target_error,
            max_seconds=max_seconds,
            max_samples=max_samples,
            state=state,
            seed=seed,
            num_checked=num_checked,
            num_draws=num_draws,
            chunk_size=chunk_size,
            progress=show,
        )
        show(effort)
    return effort
