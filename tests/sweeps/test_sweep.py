"""Sweeps: what is pruned, what a killed sweep goes on with, how runs are ranked, and the page."""

import re
import threading
from types import SimpleNamespace

import pytest
import yaml

pytest.importorskip("optuna", reason="sweeps need the extra sweep")

from pyrovae import InputError, NonFiniteLoss
from pyrovae.cli import main
from pyrovae.runs import Run, lock
from pyrovae.sweeps import SearchSpace, sweep
from pyrovae.sweeps.page import conclusions
from pyrovae.sweeps.trial import Trial
from pyrovae.training import Epoch, History

SEARCH = {"quality": {"low": 0, "high": 10_000}, "kind": ["good", "bad"]}


def trained(options, run, callback, epochs=4, stop_after=None):
    """Pretend to train: the bound grows with the epoch, and is better for a higher quality."""
    folder = Run(run)
    history = folder.history() if (run / "metrics.csv").exists() else History()
    for epoch in range(len(history.epochs) + 1, epochs + 1):
        elbo = -100.0 + epoch * options["quality"] / 1000 - 50 * (options["kind"] == "bad")
        history.epochs.append(Epoch(epoch, elbo, elbo, 0.0, elbo, elbo, 0.0, 0.1, 1e-3))
        folder.save_metrics(history)
        callback(history, None)
        if epoch == stop_after:
            raise KeyboardInterrupt


def test_poor_trials_are_pruned_and_the_best_is_first(tmp_path):
    found = sweep(trained, SEARCH, tmp_path / "sweep", trials=20, first_pruned=2)
    complete = [trial for trial in found.trials if trial.state == "complete"]
    pruned = [trial for trial in found.trials if trial.state == "pruned"]
    assert len(complete) + len(pruned) == 20
    assert len(pruned) >= 3
    assert [trial.elbo for trial in complete] == sorted((trial.elbo for trial in complete), reverse=True)
    assert complete[0].elbo == pytest.approx(-100 + 4 * complete[0].options["quality"] / 1000)
    assert {trial.epochs for trial in pruned} <= {2, 3, 4}
    assert {trial.epochs for trial in complete} == {4}
    assert max(trial.elbo for trial in pruned) < complete[0].elbo
    assert all(int(trial.run[-3:]) >= 5 for trial in pruned)  # none of the first five
    assert found.not_compared.startswith("The runs cannot be compared: ")  # there are no programs
    page = found.page.read_text()
    assert page.count("<tr>") == 21
    assert "data:image/png;base64," in page


def test_a_sweep_that_was_stopped_goes_on_with_the_interrupted_run(tmp_path):
    calls = []

    def stops(options, run, callback):
        calls.append((options, run))
        trained(options, run, callback, stop_after=2 if len(calls) == 3 else None)

    with pytest.raises(KeyboardInterrupt):
        sweep(stops, SEARCH, tmp_path, trials=5)
    assert len(Run(tmp_path / "trial-002").history().epochs) == 2
    found = sweep(stops, SEARCH, tmp_path, trials=5)
    assert calls[3] == calls[2]  # the same options and folder
    assert len(calls) == 6
    assert [trial.epochs for trial in found.trials] == [4] * 5
    assert len({trial.run for trial in found.trials}) == 5
    again = sweep(stops, SEARCH, tmp_path, trials=5)
    assert (again.trials, len(calls)) == (found.trials, 6)
    with pytest.raises(InputError, match="search must stay as it was when a sweep goes on"):
        sweep(stops, {"quality": [1, 2]}, tmp_path, trials=6)


@pytest.mark.parametrize("method", ["ask", "tell"])
def test_two_processes_never_take_the_same_trial(method, tmp_path, monkeypatch):
    """The second begins between the choice of a trial and its lock, or while an interrupted one is put in the queue."""
    import optuna

    calls, errors, went_on = [], [], threading.Event()

    def counted(options, run, callback, stop_after=None):
        calls.append(run.name)
        trained(options, run, callback, stop_after=stop_after)

    def stops(options, run, callback):
        counted(options, run, callback, stop_after=2)

    def second():
        try:
            sweep(counted, SEARCH, tmp_path, trials=4)
        except Exception as error:
            errors.append(error)
        finally:
            went_on.set()

    other = threading.Thread(target=second)
    flock, original = lock.fcntl.flock, getattr(optuna.Study, method)

    def watched_flock(file, how):
        if threading.current_thread() is other and not how & lock.fcntl.LOCK_NB:
            went_on.set()  # it waits
        flock(file, how)

    def interrupted(self, *args, **kwargs):
        result = original(self, *args, **kwargs) if method == "ask" else None
        if other.ident is None:
            other.start()
            assert went_on.wait(60)
        return original(self, *args, **kwargs) if method == "tell" else result

    with pytest.raises(KeyboardInterrupt):
        sweep(stops, SEARCH, tmp_path, trials=4)
    with monkeypatch.context() as patched:
        patched.setattr(lock.fcntl, "flock", watched_flock)
        patched.setattr(optuna.Study, method, interrupted)
        sweep(counted, SEARCH, tmp_path, trials=5)
        other.join(60)
    assert errors == []
    assert sorted(calls) == [f"trial-{number:03d}" for number in (0, 0, 2, 3, 4, 5)]  # 1 is 0 again


def test_a_trial_that_diverges_is_told_and_counts_and_a_bad_option_stops_the_sweep(tmp_path):
    def diverges(options, run, callback):
        if options["quality"] > 5000:
            raise NonFiniteLoss("training stopped in epoch 1: the loss is nan")
        trained(options, run, callback)

    found = sweep(diverges, SEARCH, tmp_path / "a", trials=6)
    failed = [trial for trial in found.trials if trial.state == "failed"]
    assert {trial.options["quality"] > 5000 for trial in failed} == {True}
    assert len(found.trials) == 6
    assert failed[0].error in found.page.read_text()

    def refuses(options, run, callback):
        raise InputError("beta must be a number")

    with pytest.raises(InputError, match="beta must be a number"):
        sweep(refuses, SEARCH, tmp_path / "b", trials=6)
    assert len(sweep(trained, {"quality": [1, 2], "kind": ["good", "bad"]}, tmp_path / "b", trials=2).trials) == 2


@pytest.mark.parametrize(
    ("search", "sentence"),
    [
        ({}, "search must be options with their ranges or choices"),
        ({"lr": 3}, "search.lr must be a list of choices, or a range with low and high, .* but is 3"),
        ({"lr": [3]}, "search.lr must have two choices or more, but has 1"),
        ({"lr": {"low": "small", "high": 1}}, "search.lr.low must be a number, but is 'small'"),
        (
            {"lr": {"low": 0, "high": 1, "log": True}},
            "search.lr.log must be true or false, and true only if low is above",
        ),
        ({"lr": {"low": 0, "high": 9, "step": 0.5}}, "search.lr.step must be above 0, and whole if low and high are"),
    ],
)
def test_a_bad_search_space_is_refused(search, sentence):
    with pytest.raises(InputError, match=sentence):
        SearchSpace(search)


@pytest.mark.slow
def test_the_command_ranks_runs_with_intervals(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    network = {"class_path": "MLP", "init_args": {"hidden_features": [8]}}
    config = {"epochs": 2, "batch_size": 256, "compile": "off", "likelihood.network": network}
    search = {"latent_dim": {"low": 1, "high": 3}, "optimizer.lr": {"low": "1e-3", "high": 1e-2, "log": True}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**config, "search": search}))
    command = ["sweep", "config.yaml", "--folder", "out", "--num_samples", "20", "--trials"]
    assert main([*command, "3"]) == 0
    printed = capsys.readouterr().out
    runs = [Run(f"out/trial-{number:03d}") for number in range(3)]
    lrs = [run.config()["optimizer"]["init_args"]["lr"] for run in runs]
    assert len(set(lrs)) == 3
    assert all(1e-3 <= lr <= 1e-2 for lr in lrs)
    nlls = {run.folder.name: run.evaluations()["validation-importance-20"]["nll"] for run in runs}
    best = min(nlls, key=nlls.get)
    assert re.search(rf"^{best} \(latent_dim .*\) has the lowest NLL on validation data\.$", printed, re.MULTILINE)
    assert "cannot be told apart from it by these data" in printed or "All others compared are worse" in printed
    page = (tmp_path / "out" / "sweep.html").read_text()
    assert f"{best} (latent_dim " in page
    assert "95 % interval" in page

    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**config, "epochs": 3, "search": search}))
    assert main([*command, "3"]) == 2
    assert "the options must stay as they were when a sweep goes on" in capsys.readouterr().err


def test_two_runs_that_one_datum_compares_are_not_told_apart():
    """There is no interval then, and so no run is said to be worse."""
    rows = [SimpleNamespace(name=name, distinguishable=None) for name in ("a", "b")]
    comparison = SimpleNamespace(result=SimpleNamespace(rows=rows))
    trials = [Trial(name, "complete", {"latent_dim": 2}, -4.0, 1, None) for name in ("a", "b")]
    assert conclusions(trials, comparison)[1] == "b cannot be told apart from it by these data (95 % intervals)."


def test_a_configuration_without_a_search_is_refused(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("epochs: 3\n")
    assert main(["sweep", str(tmp_path / "config.yaml"), "--folder", str(tmp_path / "out")]) == 2
    assert "must hold options of train and the key search, but has no search" in capsys.readouterr().err
    assert main(["sweep", str(tmp_path / "none.yaml")]) == 2
    assert "file must exist, but there is no" in capsys.readouterr().err
