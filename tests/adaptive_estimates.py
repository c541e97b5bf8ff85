"""An adaptive estimate with its seed, state and callback, which ``log_marginal`` leaves to the estimator."""

from pyrovae import Adaptive
from pyrovae.execution.chunking import Chunks
from pyrovae.programs import arguments_of


def adaptive(
    model,
    guide,
    x,
    target_error,
    *,
    seed=0,
    state=None,
    num_draws=10,
    chunk_size=None,
    callback=None,
    num_checked=0,
    **options,
):
    """Return the ``AdaptiveResult``, whose ``marginal`` is what ``log_marginal`` returns; unchecked by default."""
    options["num_checked"] = num_checked
    estimator, batches = Adaptive(target_error, **options), [arguments_of(x, model, guide)]
    result = estimator.estimate_batches(
        model,
        guide,
        batches,
        num_draws=num_draws,
        chunks=Chunks(chunk_size),
        seed=seed,
        state=state,
        callback=callback,
    )
    return result.adaptive
