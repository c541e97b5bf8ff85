"""``sweep``: trials of a training's options, pruned by the validation bound, and ranked by their runs' NLL."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pyrovae import checks, progress
from pyrovae.evaluation import Importance
from pyrovae.files import path_of
from pyrovae.objectives import NonFiniteLoss
from pyrovae.runs import Run, RunComparison, compare_runs, evaluate_run
from pyrovae.runs.lock import locked
from pyrovae.sweeps.page import write_page
from pyrovae.sweeps.search_space import SearchSpace
from pyrovae.sweeps.trial import Trial, described
from pyrovae.training import Callback, History

if TYPE_CHECKING:
    import optuna

__all__ = ["Sweep", "Train", "Trial", "sweep"]

Train: TypeAlias = Callable[[dict[str, Any], Path, Callback], object]
"""Trains with the options of a trial, by name, and keeps the run in a folder.

The callback must be called after each epoch, as one of ``fit``; it ends the training by an error if the trial is
pruned. If the folder contains a run already, its training is to be resumed.
"""

_JOURNAL = "sweep.journal"
_SPLIT: Literal["validation"] = "validation"  # of the ranking: the test data are left for the run that is chosen


@dataclass(frozen=True)
class Sweep:
    """The trials of a sweep, and the comparison of the best of them.

    Attributes:
        trials: all trials that ended, the best first; those that were pruned or failed come last.
        comparison: the runs of the best trials on validation data; None if there are fewer than two.
        not_compared: why there is no comparison, or None.
        page: the page of the sweep.
    """

    trials: tuple[Trial, ...]
    comparison: RunComparison | None = field(repr=False)
    not_compared: str | None
    page: Path

    @property
    def indistinguishable(self) -> list[str]:
        """Names of the runs that the validation data cannot tell apart from the best one."""
        rows = () if self.comparison is None else self.comparison.result.rows[1:]
        return [row.name for row in rows if not row.distinguishable]


class _Pruned(Exception):
    """A trial is ended because its bound is below those of others."""


def sweep(
    train: Train,
    search: Mapping[str, Any] | SearchSpace,
    folder: str | os.PathLike[str],
    *,
    trials: int = 20,
    first_pruned: int = 5,
    top: int = 10,
    num_samples: int = 500,
    seed: int = 0,
) -> Sweep:
    """Search options of a training by Optuna, and rank the best runs by their NLL on validation data.

    Optuna's tree-structured Parzen estimator (Bergstra et al., 2011) chooses the options, for the largest validation
    ELBO. A trial whose ELBO, at its best so far, is below the median of the others' at the same epoch is pruned, but
    none of the first five trials. The best trials that were not pruned are then evaluated by importance sampling on the
    validation data, and compared datum by datum.

    The sweep is in Optuna's journal in the folder. The same call goes on with it, also after a kill: a trial that was
    interrupted is resumed. Several processes may make the same call at a time and share the trials.

    Args:
        train: trains with the options of a trial; see :data:`Train`.
        search: the search space; see :class:`SearchSpace`.
        folder: folder of the sweep; each trial is a run in it.
        trials: number of trials, with those that are done already.
        first_pruned: first epoch after which a trial may be pruned; the bound during the KL warm-up says little.
        top: number of trials to compare.
        num_samples: number of importance samples of the comparison, per datum.
        seed: seed of the search and of the evaluations.

    Raises:
        ValueError: if an option is bad, Optuna is not installed, or the folder has a sweep of another search space.
    """
    space = search if isinstance(search, SearchSpace) else SearchSpace(search)
    for name, value in (("trials", trials), ("first_pruned", first_pruned), ("num_samples", num_samples)):
        checks.integer(name, value)
    checks.integer("top", top, minimum=2)
    where = path_of("folder", folder)
    with _quiet_optuna():
        with _reading(where):
            study = _study(where, space, first_pruned, checks.seed(seed))
            _restart_interrupted(study, where)
            _ended(study)  # raises an error if they cannot be read, before new ones are made
        while True:
            with _next_trial(study, trials, where) as trial:
                if trial is None:
                    break
                _run_trial(study, trial, space, train, where)
        ended = _ended(study)
    comparison, why = _ranking(ended, where, top, num_samples, seed)
    page = write_page(where, ended, comparison, why)
    return Sweep(tuple(ended), comparison, why, page)


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Tell in a sentence that the journal is none; Optuna has several errors for that."""
    try:
        yield
    except (checks.InputError, OSError):
        raise
    except Exception as error:
        raise checks.InputError(f"{folder / _JOURNAL} cannot be read: {checks.reason(error)}") from error


def _study(folder: Path, space: SearchSpace, first_pruned: int, seed: int) -> optuna.Study:
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
    except ImportError as error:
        raise checks.InputError("a sweep needs Optuna, which is not installed: pip install 'pyrovae[sweep]'") from error
    folder.mkdir(parents=True, exist_ok=True)
    path = str(folder / _JOURNAL)
    storage = JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))
    for name in optuna.get_all_study_names(storage):  # one without results is that of a search space with a mistake
        trials = optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
        if name != space.to_json() and any("elbo" in trial.user_attrs for trial in trials):
            raise checks.InputError(
                f"search must stay as it was when a sweep goes on, but {folder} has a sweep of another search space"
            )
    study = optuna.create_study(
        storage=storage,
        study_name=space.to_json(),
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_warmup_steps=first_pruned),
    )
    # A sampler of its own for each process: from one seed, two processes would try the same options.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.get_trials(deepcopy=False)))
    return study


def _restart_interrupted(study: optuna.Study, folder: Path) -> None:
    """Put the trials back in the queue whose process is gone; their runs are resumed."""
    from optuna.trial import TrialState

    with _choosing(folder):
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            try:
                with locked(_lock(folder, trial.number)):
                    pass
            except checks.InputError:
                continue  # another process has it
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            attributes = {"run": trial.user_attrs.get("run", _run_name(trial.number))}
            study.enqueue_trial(trial.params, user_attrs=attributes)


@contextmanager
def _next_trial(study: optuna.Study, trials: int, folder: Path) -> Iterator[optuna.Trial | None]:
    """Take the next trial, and lock it until the ``with`` block ends; None if there are as many as are wanted."""
    with ExitStack() as stack:
        with _choosing(folder):
            trial = study.ask() if len(_ended_or_running(study)) < trials else None
            if trial is not None:
                stack.enter_context(locked(_lock(folder, trial.number)))
        yield trial


def _choosing(folder: Path) -> AbstractContextManager[None]:
    """Wait for the lock under which trials are taken: one that is running, but not locked, was interrupted."""
    return locked(folder, wait=True)


def _run_trial(study: optuna.Study, trial: optuna.Trial, space: SearchSpace, train: Train, folder: Path) -> None:
    """Run a trial, and tell the study how it ended."""
    from optuna.trial import TrialState

    name = trial.user_attrs.get("run", _run_name(trial.number))
    trial.set_user_attr("run", name)
    options = space.suggest(trial)
    trial.set_user_attr("options", json.dumps(options))
    reported: set[int] = set()

    def report(history: History, state: Callable[..., Any]) -> None:
        _report(trial, history, reported)
        if trial.should_prune():
            raise _Pruned

    try:
        train(options, folder / name, report)
        _report(trial, history := Run(folder / name).history(), reported)  # it may have been finished before a kill
        study.tell(trial, history.best_value)
        how = ""
    except _Pruned:
        study.tell(trial, state=TrialState.PRUNED)
        how = f", pruned after {trial.user_attrs['epochs']} epochs"
    except NonFiniteLoss as error:
        trial.set_user_attr("error", str(error))
        study.tell(trial, state=TrialState.FAIL)
        how = f", failed: {error}"
    except checks.InputError:
        study.tell(trial, state=TrialState.FAIL)  # without an error of its own, it does not count
        raise
    elbo = trial.user_attrs.get("elbo")
    bound = "" if elbo is None else f"validation ELBO {elbo:.2f} nats, "
    progress.note(f"{name}: {bound}{described(options)}{how}")


def _report(trial: optuna.Trial, history: History, reported: set[int]) -> None:
    """Report the epochs that were not reported yet, each with the best bound until then."""
    best = -math.inf
    for row in history.epochs:
        best = max(best, row.validation_elbo)
        if row.epoch not in reported:
            trial.report(best, row.epoch)
            reported.add(row.epoch)
    trial.set_user_attr("epochs", len(history.epochs))
    trial.set_user_attr("elbo", best)


def _ended(study: optuna.Study) -> list[Trial]:
    """Return the trials that ended, the best first."""
    return sorted((Trial.of(trial) for trial in _ended_or_running(study) if trial.state.is_finished()), key=Trial.order)


def _ended_or_running(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Return all trials but those in the queue and those that were interrupted, which are in the queue again."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    interrupted = [trial for trial in trials if trial.state == TrialState.FAIL and "error" not in trial.user_attrs]
    return [trial for trial in trials if trial.state != TrialState.WAITING and trial not in interrupted]


def _ranking(
    trials: list[Trial], folder: Path, top: int, num_samples: int, seed: int
) -> tuple[RunComparison | None, str | None]:
    """Evaluate and compare the best trials; return the comparison, or why there is none."""
    best = [trial for trial in trials if trial.state == "complete"][:top]
    if len(best) < 2:
        return None, f"{len(best)} of the trials ended without being pruned, and two are needed for a comparison."
    name = f"{_SPLIT}-{Importance(num_samples).label}"
    runs = [Run(folder / trial.run) for trial in best]
    try:
        for run in runs:
            if name not in run.evaluations():
                evaluate_run(run, Importance(num_samples), split=_SPLIT, num_checked=0, num_draws=0, seed=seed)
        return compare_runs(runs, name, out=folder / "comparison"), None
    except checks.InputError as error:
        return None, f"The runs cannot be compared: {error}."


def _run_name(number: int) -> str:
    return f"trial-{number:03d}"


def _lock(folder: Path, number: int) -> Path:
    return folder / ".running" / str(number)


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Show no messages of Optuna's; what it finds is told here."""
    try:
        import optuna
    except ImportError:
        yield  # told by _study
        return
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
