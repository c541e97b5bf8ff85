"""Bars: a line that changes on a terminal, lines in a log, nothing if quiet."""

import io
import sys
import types

import pytest
import torch
import tqdm

from pyrovae import (
    VAE,
    Adaptive,
    Annealed,
    DiagonalNormal,
    Gaussian,
    StandardNormal,
    diagnose,
    log_marginal,
    progress,
    sandwich,
)
from pyrovae.cli import main, script
from pyrovae.evaluation import anomaly_scores


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(progress, "_DELAY", 0)
    monkeypatch.setattr(progress, "_OFTEN", 0)


def test_a_log_has_lines(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    assert list(progress.over("abc", "reading", "letter")) == ["a", "b", "c"]
    assert "\r" not in log.getvalue()
    lines = log.getvalue().splitlines()
    assert len(lines) >= 3
    assert all(line.startswith("reading: ") and "letter" in line for line in lines)
    assert "3/3" in lines[-1]


def test_a_terminal_has_one_line_that_changes(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.bar("reading", 3, "letter", initial=1) as bar:
        bar.set_postfix_str("at a")
        bar.update(2)
    assert terminal.getvalue().startswith("\rreading:")
    assert "3/3" in terminal.getvalue()
    assert "at a" in terminal.getvalue()
    assert terminal.getvalue().count("\n") == 1


def test_a_notebook_without_widgets_has_a_bar_of_text_and_no_warning(monkeypatch):
    class Shell:
        config = {"IPKernelApp": {}}  # noqa: RUF012 - as IPython's own, by which tqdm knows a notebook

    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=Shell))
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    for name in ("tqdm.auto", "tqdm.autonotebook", "tqdm.notebook"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with progress.quiet(), progress.bar("work", 1, "part") as bar:
        assert type(bar) is tqdm.std.tqdm


@pytest.mark.parametrize("hidden", [True, False])
def test_nothing_is_shown_where_it_is_hidden_or_quiet(monkeypatch, hidden):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with progress.quiet(not hidden), progress.bar("reading", 3, "letter", hidden=hidden) as bar:
        bar.update(3)
        with progress.quiet(False):  # what is quiet stays so
            assert (list(progress.over("ab", "more", "letter")), bool(log.getvalue())) == (["a", "b"], hidden)


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["--quiet"]])
def test_commands_are_quiet_if_they_are_told_to_be(tmp_path, capsys, words):
    run = str(tmp_path / "run")
    assert main(["train", "--epochs", "1", "--latent_dim", "2", "--run", run, *words]) == 0
    told = capsys.readouterr()
    assert "best validation ELBO" in told.out
    assert ("training:" in told.err) == (not words)
    assert "quiet:" not in (tmp_path / "run" / "config.yaml").read_text()
    assert main(["evaluate", run, "--num_samples", "10", "--num_data", "20", "--num_checked", "0", *words]) == 0
    told = capsys.readouterr()
    assert "test NLL" in told.out
    assert ("test, importance-10" in told.err) == (not words)


def test_scripts_are_quiet_if_they_are_told_to_be(capsys):
    def experiment(count: int = 3) -> None:
        """Count."""
        progress.note("first of all")
        print(len(list(progress.over(range(count), "counting", "number"))))

    assert script(experiment, []) == 0
    told = capsys.readouterr().err
    assert told.startswith("first of all\n")
    assert "counting" in told
    assert script(experiment, ["--quiet", "--count", "4"]) == 0
    assert capsys.readouterr() == ("4\n", "")


@pytest.mark.slow
def test_long_functions_show_their_progress(monkeypatch):
    torch.manual_seed(0)
    vae = VAE(StandardNormal(2), Gaussian((4,), 2), DiagonalNormal((4,), 2))
    programs, x, chains = (vae.model, vae.guide), torch.randn(7, 4), Annealed(num_temperatures=2, num_chains=2)
    expected = {
        "log p(x): 100%": lambda shown: log_marginal(*programs, x, num_samples=20, progress=shown),
        "5/5": lambda shown: log_marginal(*programs, [x[:3], x[:2]], chains, progress=shown),
        "Monte Carlo error": lambda shown: log_marginal(*programs, x, Adaptive(5.0, num_checked=0), progress=shown),
        "upper bound: 100%": lambda shown: sandwich(*programs, x, chains, num_simulated=3, progress=shown),
        "rate and distortion: 100%": lambda shown: diagnose(
            *programs, x, refinement_steps=0, estimator=chains, progress=shown
        ),
        "refinement: 100%": lambda shown: anomaly_scores(*programs, x, 5, refinement_steps=1, progress=shown),
    }
    for text, work in expected.items():
        log = io.StringIO()
        monkeypatch.setattr(sys, "stderr", log)
        work(False)
        assert log.getvalue() == ""
        work(True)
        assert text in log.getvalue()
