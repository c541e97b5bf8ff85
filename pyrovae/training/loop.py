"""The SVI loop: ``fit``."""

from __future__ import annotations

import copy
import random
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pyro
import torch
from pyro.infer import SVI
from torch import Tensor, nn
from tqdm.auto import tqdm

from pyrovae import checks
from pyrovae.data import DataSet, Split
from pyrovae.handlers import Program, Temper, forked_rng, in_data_plate, mode, modules_of, private_modules
from pyrovae.objectives import Compile, NonFiniteLoss, ObjectiveFactory, Step, Trace_ELBO, measure
from pyrovae.optimizers import JointOptimizer, OptimizerFactory, SchedulerFactory
from pyrovae.training.history import Epoch, History

__all__ = ["Callback", "State", "fit"]

State: TypeAlias = dict[str, Any]
"""Everything that exact resuming needs: tensors, numbers and strings in dictionaries and lists."""

Callback: TypeAlias = Callable[[History, Callable[[], State]], None]
"""Called after each epoch with the history and a function that returns the state."""


def fit(
    model: Program,
    guide: Program,
    data: DataSet,
    *,
    epochs: int = 20,
    batch_size: int = 128,
    objective: ObjectiveFactory = Trace_ELBO,
    optimizer: OptimizerFactory = torch.optim.Adam,
    scheduler: SchedulerFactory | None = None,
    kl_warmup: int = 0,
    max_norm: float | None = None,
    patience: int | None = None,
    restore_best: bool = False,
    compile: Compile = "graph",
    progress: bool = True,
    callback: Callback | None = None,
    state: State | None = None,
) -> History:
    r"""Train a model and its guide by stochastic variational inference on a data set.

    Maximises :math:`\sum_i \mathrm{E}_{q(z|x_i)}[\log p(x_i|z)] - \beta\,\mathrm{KL}(q(z|x_i)\,\|\,p(z))` with
    Pyro's SVI (Hoffman et al., 2013, arXiv:1206.7051; Ranganath et al., 2014, arXiv:1401.0118). Pyro's
    parameter store, validation flag and registered modules are afterwards as they were, but for the
    parameters that the programs make with ``pyro.param``, which live nowhere else.

    Args:
        model: program of p(x, z), called with ``x`` of shape ``(B, *data_shape)``.
        guide: program of q(z|x), called likewise.
        data: what to train and validate on.
        epochs: passes over the training images.
        batch_size: images in a batch.
        objective: makes the Pyro ELBO that is maximised.
        optimizer: makes the torch optimizer; the class itself or a ``functools.partial`` of it.
        scheduler: makes the learning-rate scheduler, which steps once an epoch.
        kl_warmup: epochs over which :math:`\beta` grows from 0 to 1, in equal steps a batch; 0 for
            :math:`\beta = 1` throughout.
        max_norm: largest norm of the gradients, or None.
        patience: epochs without a better validation ELBO after which training stops, or None.
        restore_best: leave the weights of the best validation ELBO in the programs, instead of the last.
        compile: ``graph`` to record the step and replay it, ``off`` to run Pyro at every step.
        progress: show a progress bar.
        callback: called after each epoch.
        state: where a callback's earlier state left off, to go on from there.

    Returns:
        the figures of each epoch; reconstruction and KL are estimated from samples, whatever the objective.

    Raises:
        ValueError: if an option is bad, or the programs do not fit the data or the data plate.
        FloatingPointError: if the loss becomes NaN or infinite, naming epoch, batch and site, or with ``max_norm``
            the gradients; nothing is updated from such a loss.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((1, 8, 8), 2), DiagonalNormal((1, 8, 8), 2))
        >>> history = fit(vae.model, vae.guide, Digits(), epochs=2, progress=False)
        >>> history.epochs[1].train_elbo > history.epochs[0].train_elbo
        True
    """
    checks.integer("epochs", epochs)
    checks.integer("batch_size", batch_size)
    checks.integer("kl_warmup", kl_warmup, minimum=0)
    if patience is not None:
        checks.integer("patience", patience)
    elbo = objective()
    optim = JointOptimizer(optimizer, scheduler, max_norm)
    modules = modules_of(model, guide)
    step = Step(elbo, compile, modules)
    history = History()
    best: dict[str, Tensor] | None = None

    with (
        warnings.catch_warnings(),
        private_modules(),
        mode(model, guide, training=True),
        pyro.validation_enabled(False),
    ):
        warnings.filterwarnings("ignore", "Encountered NaN")  # training stops with a better sentence
        checked_model, checked_guide = in_data_plate(model), in_data_plate(guide)
        _rehearse(elbo, checked_model, checked_guide, modules, data.train, batch_size)
        if state is not None:
            _restore(state, optim, history, model, guide)
            best = state["best"] if restore_best else None
            if restore_best and best is None:
                raise checks.InputError("state must come from a training with restore_best, to go on with it")
        beta = torch.ones((), device=data.train.device)
        svi = SVI(
            Temper(beta)(checked_model),
            Temper(beta)(checked_guide),
            optim,
            loss=step.loss,
            loss_and_grads=step.loss_and_grads,
        )
        num_batches = -(-len(data.train) // batch_size)
        bar = tqdm(
            total=epochs * num_batches,
            initial=len(history.epochs) * num_batches,
            desc="training",
            unit="batch",
            disable=not progress,
            mininterval=0.1 if sys.stderr.isatty() else 10.0,
        )
        with bar:
            for epoch in range(len(history.epochs) + 1, epochs + 1):
                if patience is not None and history.epochs and epoch - 1 - history.best_epoch >= patience:
                    break
                start = time.perf_counter()
                step.totals = torch.zeros(2, device=data.train.device)
                step.recheck()
                for i, x in enumerate(data.train.batches(batch_size, shuffle=True)):
                    if kl_warmup:
                        beta.fill_(min(1.0, ((epoch - 1) * num_batches + i) / (kl_warmup * num_batches)))
                    try:
                        svi.step(x)
                    except FloatingPointError as error:
                        raise NonFiniteLoss(
                            f"training stopped in epoch {epoch}, batch {i + 1} of {num_batches}: the loss is {error}"
                        ) from None
                    bar.update()
                    if i % 100 == 99:
                        seen = (step.totals / ((i + 1) * batch_size)).tolist()
                        bar.set_postfix_str(_figures("training", *seen), refresh=False)
                train = (step.totals / len(data.train)).tolist()
                try:
                    validation = _validate(elbo, model, guide, data.validation, batch_size)
                except NonFiniteLoss as error:
                    raise NonFiniteLoss(
                        f"training stopped after epoch {epoch}: the loss on the validation images is {error}"
                    ) from None
                history.epochs.append(
                    Epoch(
                        epoch=epoch,
                        train_elbo=train[0] - train[1],
                        train_reconstruction=train[0],
                        train_kl=train[1],
                        validation_elbo=validation[0] - validation[1],
                        validation_reconstruction=validation[0],
                        validation_kl=validation[1],
                        seconds=time.perf_counter() - start,
                        learning_rate=optim.learning_rate,
                    )
                )
                optim.end_epoch(validation[1] - validation[0])
                bar.set_postfix_str(_figures("validation", *validation), refresh=False)
                if restore_best and history.best_epoch == epoch:
                    best = {name: tensor.clone() for name, tensor in _weights(model, guide).items()}
                if callback is not None:
                    callback(history, partial(_state, optim, history, model, guide, best))
        if best is not None:
            _load_weights(best, model, guide)
    return history


def _figures(part: str, reconstruction: float, kl: float) -> str:
    return f"{part} ELBO {reconstruction - kl:.2f}, reconstruction {reconstruction:.2f}, KL {kl:.2f} nats"


def _rehearse(
    elbo: Any, model: Program, guide: Program, modules: list[nn.Module], split: Split, batch_size: int
) -> None:
    """Run the programs once, so that their faults show and their parameters are known, and forget the noise."""
    buffers = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]
    with forked_rng(split.device), pyro.validation_enabled(True), torch.no_grad():
        x = split[:batch_size]
        try:
            loss = elbo.loss(model, guide, x)
        except checks.InputError:
            raise
        except (ValueError, RuntimeError, IndexError) as error:
            raise checks.InputError(
                f"the program cannot be run on data of shape {split.data_shape}: {checks.reason(error)}"
            ) from error
        finally:
            for buffer, before in buffers:
                buffer.copy_(before)
    if isinstance(loss, tuple):
        raise checks.InputError(f"objective must have one loss, but {type(elbo).__name__} has {len(loss)}")


def _validate(elbo: Any, model: Program, guide: Program, split: Split, batch_size: int) -> list[float]:
    """Return reconstruction and KL in nats per datum, with the same noise at every call."""
    with forked_rng(split.device), mode(model, guide, training=False):
        torch.manual_seed(0)
        totals = torch.zeros(2, device=split.device)
        for x in split.batches(batch_size):
            totals += measure(elbo, model, guide, x)
    return (totals / len(split)).tolist()


def _weights(model: Program, guide: Program) -> dict[str, Tensor]:
    """Collect what training changes: the store's parameters, and the buffers of the programs' modules."""
    store = pyro.get_param_store()
    weights = {name: store[name].unconstrained().detach() for name in sorted(store.keys())}
    for i, module in enumerate(modules_of(model, guide)):
        weights |= {f"buffer {i} {name}": buffer for name, buffer in module.named_buffers()}
    return weights


def _load_weights(weights: dict[str, Tensor], model: Program, guide: Program) -> None:
    own = _weights(model, guide)
    if own.keys() != weights.keys() or any(own[name].shape != weights[name].shape for name in own):
        raise checks.InputError("state must come from the same programs, but its parameters differ from theirs")
    for name, tensor in own.items():
        tensor.copy_(weights[name])


def _state(optim: JointOptimizer, history: History, model: Program, guide: Program, best: Any) -> State:
    kind, keys, *position = np.random.get_state(legacy=True)  # noqa: NPY002 - the state that programs may draw from
    return {
        "weights": {name: tensor.clone() for name, tensor in _weights(model, guide).items()},
        "best": best,
        "optimizer": copy.deepcopy(optim.get_state()),
        "history": history.rows(),
        "rng": {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *position],
            "python": random.getstate(),
        },
    }


def _restore(state: State, optim: JointOptimizer, history: History, model: Program, guide: Program) -> None:
    try:
        _load_weights(state["weights"], model, guide)
        optim.set_state(state["optimizer"])
        history.epochs[:] = [Epoch(*row) for row in state["history"]]
        rng = state["rng"]
        torch.set_rng_state(rng["torch"].cpu())
        if rng["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([tensor.cpu() for tensor in rng["cuda"]])
        kind, keys, *position = rng["numpy"]
        np.random.set_state((kind, keys.numpy().astype(np.uint32), *position))  # noqa: NPY002
        random.setstate(rng["python"])
    except checks.InputError:
        raise
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, RuntimeError) as error:
        raise checks.InputError(
            f"state must be what a callback of fit received, but is not: {checks.reason(error)}"
        ) from error
