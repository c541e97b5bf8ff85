"""Training loop: ``fit``, stochastic variational inference on a data set."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import pyro
import torch
from pyro.infer import ELBO, SVI
from torch import Tensor, nn
from torch.utils.data import Dataset

from pyrovae import checks, distributed, matmul
from pyrovae.compilation import Compile, ObjectiveFactory, TrainingStep, ValidationTerms
from pyrovae.data import DataSet, as_data_set
from pyrovae.execution import allow_missing
from pyrovae.handlers import Temper, in_data_plate
from pyrovae.likelihoods import Likelihood
from pyrovae.objectives import NonFiniteLoss, Trace_ELBO
from pyrovae.optimizers import JointOptimizer, OptimizerFactory, SchedulerFactory
from pyrovae.programs import Batch, PyroFunction, mode, modules_of, parameter_dtype, private_modules
from pyrovae.progress import bar as progress_bar
from pyrovae.training.batching import Labels, batches, count_batches, explain_single_datum, labels_for, parts_of
from pyrovae.training.checkpoint import State, compile_mode_of, load_weights, restore, state_of, weights_of
from pyrovae.training.dry_run import check_amortized, dry_run
from pyrovae.training.health_notes import HealthNotes
from pyrovae.training.history import Epoch, History
from pyrovae.training.synchronize import clone_buffers, merge_buffers, per_rank_rng, synchronize_start
from pyrovae.training.validation import subset_elbo, validate
from pyrovae.training.warmup import Warmup, warms_up_by_default
from pyrovae.training.weight_average import WeightAverage
from pyrovae.vector_constants import load_vector_constants

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Callback", "fit"]

_COMPILE_ABOVE = 2e12  # floating-point operations of a run, some 20 s of one core: longer than compilation takes

Callback: TypeAlias = Callable[[History, Callable[..., State]], None]
"""Called after each epoch with the history and a function that returns the state.

The function may be given, as ``spare``, an earlier state that is not needed any more, whose memory is used again.
"""


def fit(
    model: PyroFunction,
    guide: PyroFunction,
    data: DataSet | Batch | Dataset[Any],
    *,
    epochs: int = 20,
    batch_size: int = 128,
    objective: ObjectiveFactory = Trace_ELBO,
    optimizer: OptimizerFactory = torch.optim.Adam,
    scheduler: SchedulerFactory | None = None,
    beta: float = 1.0,
    kl_warmup: int | None = None,
    kl_cycles: int = 1,
    max_norm: float | None = None,
    ema_decay: float | None = None,
    patience: int | None = None,
    restore_best: bool = False,
    accumulate: int = 1,
    compile: Compile | Literal["auto"] = "auto",
    precision: matmul.Precision = "float32",
    progress: bool = True,
    callback: Callback | None = None,
    state: State | None = None,
) -> History:
    r"""Train a model and its guide by stochastic variational inference on a data set.

    Maximises :math:`\sum_i \mathrm{E}_{q(z|x_i)}[\log p(x_i|z)] - \beta\,\mathrm{KL}(q(z|x_i)\,\|\,p(z))` with
    Pyro's SVI (Hoffman et al., 2013, arXiv:1206.7051; Ranganath et al., 2014, arXiv:1401.0118). Pyro's
    parameter store, validation flag and registered modules are restored afterwards, except for parameters
    that the programs make with ``pyro.param``, which exist in the store only.

    If ``torch.distributed`` has a default process group, all its processes must call this function with the same
    arguments: each processes its share of every batch, gradients are summed, and all end with the same weights.

    Args:
        model: program of p(x, z), called with ``x`` of shape ``(B, *data_shape)``; if its second argument is ``y``,
            also with the labels, int64 ``(B,)``. If ``y`` has a default, data with unknown label are in separate
            batches, with x only.
        guide: program of q(z|x), called with the same arguments.
        data: data to train and validate on; an array, a tuple (x, y), a data frame, a list of numbers or a torch
            ``Dataset`` is made a :class:`DataSet`, of which a tenth is for validation and a tenth for the test.
        epochs: number of passes over the training data.
        batch_size: number of data per batch, over all processes.
        objective: makes the Pyro ELBO that is maximised.
        optimizer: makes the torch optimizer; the class itself or a ``functools.partial`` of it.
        scheduler: makes the learning-rate scheduler, which steps once per epoch.
        beta: weight :math:`\beta` of the KL (Higgins et al., 2017).
        kl_warmup: number of epochs in which the weight grows linearly from 0 to ``beta``, in equal steps per batch; 0
            for ``beta`` throughout. None for three tenths of the run, or as a resumed run was begun; but for 0 if
            the objective is ``MMD`` or ``RWS``, or the guide is deterministic. Without it, a posterior often collapses
            to the prior.
        kl_cycles: number of equal parts of the run in each of which the weight grows from 0 again (Fu et al., 2019,
            arXiv:1903.10145), in ``kl_warmup`` epochs, by default in half of the part.
        max_norm: largest global norm of the gradients, or None.
        ema_decay: decay of an exponential moving average of the weights, such as 0.999, or None for none. Validation,
            callbacks and the trained programs then have the averages in place of the weights: see
            :class:`~pyrovae.training.weight_average.WeightAverage`.
        patience: number of epochs without a better validation ELBO, which always has the full KL, after which training
            stops, or None; the warm-up's epochs do not count.
        restore_best: True to end with the weights of the best validation ELBO, False for those of the last epoch.
        accumulate: number of parts in which a batch is processed one after the other, to save memory; terms that are no
            sum over data, such as batch normalisation or the discrepancy of ``MMD``, are computed for each part.
        compile: ``graph`` to record the step and replay it, with exactly Pyro's gradients, and validation too, with
            exactly Pyro's numbers; ``inductor`` to compile the recorded step too, on CPU with the faster library's
            matrix products (:mod:`pyrovae.linear_kernels`), with gradients that are the same up to rounding and steps
            up to twice as fast; ``off`` to run Pyro at every step; ``auto`` for ``inductor`` if the run is long enough
            to make up for some ten seconds of compilation, else ``graph``.
        precision: precision of the matrix products of linear and convolutional layers: ``float32``, or rounded to
            ``tf32`` (a mantissa of 10 bits, on a GPU) or ``bfloat16`` (7 bits).
        progress: True to show a progress bar, and a line as soon as something is wrong with the curves, such as a
            collapse of the posterior.
        callback: called after each epoch, on rank 0 only.
        state: state that a callback received, to resume from; with several processes, that of rank 0 is used.

    Returns:
        the results of each epoch; reconstruction and KL are estimated from samples for every objective.

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
    data = as_data_set(data, model, guide)
    average = WeightAverage(ema_decay)
    _check_options(data, epochs, batch_size, beta, kl_warmup, patience, accumulate, compile, precision, callback)

    # Data and labels
    labels = labels_for(model, guide, data)
    if data.train.has_missing or data.validation.has_missing:
        check_amortized(guide)
        model, guide = allow_missing(model, guide)
    data = data.astype(parameter_dtype(model, guide) or torch.get_default_dtype())

    # Program, optimizer and training step
    elbo = checks.make("objective", objective, ELBO, like="Trace_ELBO")
    optim = JointOptimizer(optimizer, scheduler, max_norm)
    modules = modules_of(model, guide)
    _check_levels(modules, data)
    state = distributed.broadcast(distributed.on_cpu(state))
    if compile == "auto":
        chosen: Compile = _choose_compile(elbo, modules, data, epochs) if state is None else compile_mode_of(state)
    else:
        chosen = compile
    step = TrainingStep(elbo, chosen, modules, optim if accumulate == 1 else None)
    if distributed.count() > 1:
        step.losses.every = 1  # an error in one process concerns all
    with _training_mode(model, guide, labels, data.train.device, precision):
        single = partial(explain_single_datum, len(data.train), batch_size, accumulate)
        with distributed.failing_together(), single():
            traces = dry_run(elbo, model, guide, modules, labels, data, batch_size)
            by_default = warms_up_by_default(elbo, traces)
            del traces  # they keep a batch in memory
        untrained = subset_elbo(model, guide, labels, data.validation, batch_size)

        # Checkpoint
        history = History()
        best: dict[str, Tensor] | None = None
        if state is not None:
            restore(state, optim, history, model, guide, average)
            best = state["best"] if restore_best else None
            if restore_best and best is None:
                raise checks.InputError("state must come from a training with restore_best, to go on with it")
        shared: dict[str, object] = {"epochs": epochs, "batch_size": batch_size, "accumulate": accumulate}
        shared |= {"kl_warmup": kl_warmup, "max_norm": max_norm, "patience": patience, "compile": chosen}
        shared |= {"beta": beta, "precision": precision, "kl_cycles": kl_cycles, "ema_decay": ema_decay}
        shared |= {"number of data": (len(data.train), len(data.validation))}
        synchronize_start(model, guide, shared)

        # Epochs
        num_batches = count_batches(labels, data.train, batch_size)
        warmup = Warmup.of(kl_warmup, kl_cycles, beta, epochs, num_batches, by_default=by_default, state=state)
        for module in modules:  # gradients left from other training loops
            module.zero_grad(set_to_none=True)
        shown = progress and distributed.rank() == 0
        notes = HealthNotes(warmup.num_epochs(num_batches), hidden=not shown)
        before = len(history.epochs) * num_batches
        with progress_bar("training", epochs * num_batches, "batch", initial=before, hidden=not shown) as bar:
            if chosen == "inductor":
                bar.set_postfix_str("the step is compiled first", refresh=False)
            loop = _EpochLoop(
                model,
                guide,
                data,
                labels,
                batch_size,
                accumulate,
                step,
                optim,
                warmup,
                average,
                num_batches,
                single,
                bar,
            )
            current_state = partial(state_of, optim, history, model, guide)
            for epoch in range(len(history.epochs) + 1, epochs + 1):
                best_or_warm = max(history.best_epoch, warmup.num_epochs(num_batches))
                if patience is not None and epoch - 1 - best_or_warm >= patience:
                    break
                train = loop.train(epoch)
                with average.in_place_of_weights():
                    history.epochs.append(loop.validate(epoch, train))
                    notes.epoch(history.epochs)
                    if restore_best and history.best_epoch == epoch:
                        best = {name: tensor.clone() for name, tensor in weights_of(model, guide).items()}
                    if callback is not None:
                        now = partial(current_state, best, chosen, warmup.state(), average)
                        distributed.on_rank_zero(partial(callback, history, now))

        # Result
        if best is not None:
            load_weights(best, model, guide)
        else:
            average.load_into_programs()
    _warn_if_diverged(history.epochs[-1], untrained)
    return history


class _EpochLoop:
    """The steps and the validation of each epoch, with everything that they need."""

    def __init__(
        self,
        model: PyroFunction,
        guide: PyroFunction,
        data: DataSet,
        labels: Labels,
        batch_size: int,
        accumulate: int,
        step: TrainingStep,
        optim: JointOptimizer,
        warmup: Warmup,
        average: WeightAverage,
        num_batches: int,
        single: Callable[[], AbstractContextManager[None]],
        bar: tqdm[Any],
    ) -> None:
        self.model = model
        self.guide = guide
        self.data = data
        self.labels = labels
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.step = step
        self.terms = ValidationTerms(model, guide, step)
        self.optim = optim
        self.warmup = warmup
        self.average = average
        self.start = 0.0
        self.num_batches = num_batches
        self.single = single
        self.bar = bar
        self.weight = torch.full((), float(warmup.beta), device=data.train.device)
        self.svi = SVI(
            Temper(self.weight)(in_data_plate(model)),
            Temper(self.weight)(in_data_plate(guide)),
            optim,
            loss=step.loss,
            loss_and_grads=partial(_share_of_step, step, optim),
        )

    def validate(self, epoch: int, train: list[float]) -> Epoch:
        """Validate after an epoch, and return its results; ``train`` is what :meth:`train` returned."""
        validation = self._validate(epoch)
        results = Epoch(
            epoch=epoch,
            train_elbo=train[0] - train[1],
            train_reconstruction=train[0],
            train_kl=train[1],
            validation_elbo=validation[0] - validation[1],
            validation_reconstruction=validation[0],
            validation_kl=validation[1],
            seconds=time.perf_counter() - self.start,
            learning_rate=self.optim.learning_rate,
        )
        self.optim.end_epoch(validation[1] - validation[0])
        self.bar.set_postfix_str(_figures("validation", *validation), refresh=False)
        return results

    def train(self, epoch: int) -> list[float]:
        """Take the steps of one epoch; return the means of reconstruction and KL over the training data."""
        self.start = time.perf_counter()
        self.step.totals = torch.zeros(2, device=self.data.train.device)
        self.step.begin_epoch()
        seen = 0
        buffers = clone_buffers(self.model, self.guide)
        with per_rank_rng() as order:
            shares = batches(self.labels, self.data.train, self.batch_size, shuffle=True, generator=order, part="share")
            try:
                for i, arguments in enumerate(shares):
                    self.weight.fill_(self.warmup.weight((epoch - 1) * self.num_batches + i))
                    parts = parts_of(arguments, self.accumulate)
                    for j, part in enumerate(parts):
                        self.optim.accumulating = j + 1 < len(parts)
                        with self.single():
                            self.svi.step(*part)
                    self.average.update()
                    self.bar.update()
                    seen += len(arguments[0])
                    if i % 100 == 99 and seen:
                        means = (self.step.totals / seen).tolist()
                        self.bar.set_postfix_str(_figures("training", *means), refresh=False)
                self.step.losses.flush()
            except FloatingPointError as error:
                number = (i * self.accumulate + j - getattr(error, "steps_ago", 0)) // self.accumulate + 1
                place = f"epoch {epoch}, batch {number} of {self.num_batches}"
                raise NonFiniteLoss(f"training stopped in {place}: the loss is {error}") from None
        means = (distributed.all_reduce(self.step.totals.double()) / len(self.data.train)).tolist()
        merge_buffers(buffers, self.model, self.guide, seen)
        return means

    def _validate(self, epoch: int) -> list[float]:
        """Return the means of reconstruction and KL over the validation data."""
        try:
            self.terms.begin_epoch()
            return validate(self.model, self.guide, self.labels, self.data.validation, self.batch_size, self.terms)
        except NonFiniteLoss as error:
            raise NonFiniteLoss(
                f"training stopped after epoch {epoch}: the loss on the validation data is {error}"
            ) from None


def _check_options(
    data: DataSet,
    epochs: int,
    batch_size: int,
    beta: float,
    kl_warmup: int | None,
    patience: int | None,
    accumulate: int,
    compile: str,
    precision: str,
    callback: Callback | None,
) -> None:
    data.check_trainable()
    checks.integer("epochs", epochs)
    checks.integer("batch_size", batch_size)
    checks.number("beta", beta)
    if kl_warmup is not None:
        checks.integer("kl_warmup", kl_warmup, minimum=0)
    checks.integer("accumulate", accumulate)
    checks.choice("compile", compile, ("auto", *get_args(Compile)))
    checks.choice("precision", precision, get_args(matmul.Precision))
    if patience is not None:
        checks.integer("patience", patience)
    if callback is not None and not callable(callback):
        raise checks.InputError(f"callback must be a function of the history and the state, but {callback!r} was given")


def _check_levels(modules: list[nn.Module], data: DataSet) -> None:
    """Check the likelihoods' numbers of levels, because scaled data with fewer levels would be accepted silently."""
    if data.kind == "scaled":
        for likelihood in (part for module in modules for part in module.modules() if isinstance(part, Likelihood)):
            likelihood.check_levels(data.observed_levels)


@contextmanager
def _training_mode(
    model: PyroFunction, guide: PyroFunction, labels: Labels, device: torch.device, precision: matmul.Precision
) -> Iterator[None]:
    """Put the programs in training mode; Pyro's validation and some of its warnings are off."""
    load_vector_constants()
    with (
        warnings.catch_warnings(),
        private_modules(),
        mode(model, guide, training=True),
        pyro.validation_enabled(False),
        matmul.precision(precision, device),
    ):
        warnings.filterwarnings("ignore", "Encountered NaN")  # training stops with a better message
        if labels == "where known":  # a batch with labels has nothing to enumerate
            warnings.filterwarnings("ignore", "TraceEnum_ELBO found no sample sites configured for enumeration")
            warnings.filterwarnings("ignore", r"(?s).*If you want to enumerate sites")  # y may be sampled
        yield


def _warn_if_diverged(end: Epoch, untrained: float) -> None:
    """Warn if the ELBO of the last epoch is far below that of the untrained programs."""
    last = max(end.train_elbo, end.validation_elbo)  # the latter may be poor after few batches, by batch statistics
    if last < untrained - max(10.0, abs(untrained)):
        warnings.warn(
            f"the ELBO of the last epoch, {last:.4g} nats per datum, is far below the {untrained:.4g} from before "
            "training: training has diverged, and a smaller learning rate may help",
            stacklevel=3,
        )


def _choose_compile(elbo: ELBO, modules: list[nn.Module], data: DataSet, epochs: int) -> Compile:
    """Return ``inductor`` if the matrix products of the whole run take far longer than compilation, else ``graph``."""
    if data.train.device.type != "cpu":  # kernels in a CUDA graph are fast without compilation
        return "graph"
    weights = sum(parameter.numel() for module in modules for parameter in module.parameters())
    return "inductor" if 6 * weights * elbo.num_particles * len(data.train) * epochs > _COMPILE_ABOVE else "graph"


def _figures(part: str, reconstruction: float, kl: float) -> str:
    return f"{part} ELBO {reconstruction - kl:.2f}, reconstruction {reconstruction:.2f}, KL {kl:.2f} nats"


def _share_of_step(
    step: TrainingStep, optim: JointOptimizer, model: PyroFunction, guide: PyroFunction, *arguments: Tensor
) -> float:
    """Compute loss and gradients on this process's share, which may be empty; errors are kept for all processes."""
    if distributed.count() == 1:
        loss = step.loss_and_grads(model, guide, *arguments)
        optim.found_inf = step.losses.found_inf
        return loss
    try:
        return step.loss_and_grads(model, guide, *arguments) if len(arguments[0]) > 0 else 0.0
    except Exception as error:  # raised in all processes by the optimizer
        optim.failure = error
        return math.nan
