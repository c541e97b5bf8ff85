"""Every reproduction runs, goes on where it stopped, and is on the page, which is what its result files say."""

import csv
import dataclasses
import json
import math
import os
import re
from typing import NamedTuple

import numpy as np
import pytest
import torch
from script_modules import ROOT, module_of

from pyrovae import Annealed, InputError, LogMarginal
from pyrovae.cli import main, script

SCRIPTS = ROOT / "scripts" / "reproductions"
KEPT = ROOT / "docs" / "reproductions"
pytestmark = pytest.mark.usefixtures("short_checks")
# By script, options with which it takes some seconds on the digits, and the records that it keeps. Runs that are left
# out differ from those that are made in an objective alone.
TINY = {
    "annealing": (
        "--latents [2] --widths [8] --num_data 5 --num_samples 20 --temperatures 4 --num_simulated 4",
        ["annealing"],
    ),
    "bdmc": (
        "--num_data 4 --num_sampled 3 --num_samples 20 --temperatures 3 --num_simulated 3",
        ["bdmc"],
    ),
    "gradient_estimators": (
        "--num_samples 10 --num_data 12 --num_annealed 6 --temperatures 2 --only [VAE,IWAE]",
        ["gradient_estimators"],
    ),
    "iwae": ("--num_samples 10 --num_annealed 12 --temperatures 2 --only [2-vae-1,2-iwae-5]", ["iwae"]),
    "peer": ("--num_data 6 --num_samples 30 --repetitions 2", ["peer"]),
    "vampprior": ("--components 5 --num_samples 10 --num_annealed 12 --temperatures 2", ["vampprior"]),
}


@pytest.fixture
def page(monkeypatch):
    return module_of("reproductions/page", monkeypatch)


def test_every_reproduction_is_tried():
    scripts = {path.stem for path in SCRIPTS.glob("*.py") if "def main(" in path.read_text()}
    assert set(TINY) == scripts - {"page"}


@pytest.mark.parametrize("name", sorted(TINY))
def test_a_script_is_thin(name):
    assert len((SCRIPTS / f"{name}.py").read_text().splitlines()) <= 190


def command_without_recording(words):
    """Run a command; one epoch of the digits is trained, whose few steps are not worth a recording."""
    return main([*words, "--compile=off"] if words[0] == "train" else words)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TINY))
def test_a_script_keeps_its_records_and_does_nothing_twice(name, page, tmp_path, monkeypatch, capsys):
    module = module_of(f"reproductions/{name}", monkeypatch)
    import setting as reproduction

    monkeypatch.setattr(reproduction, "command", command_without_recording)
    options, records = TINY[name]
    words = ["--epochs", "1", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), *options.split()]
    assert script(module.main, words) == 0, capsys.readouterr().err
    assert {path.stem for path in (tmp_path / "out").glob("*.json")} == set(records)
    for record in records:
        kept = json.loads((tmp_path / "out" / f"{record}.json").read_text())
        assert len(kept["rows"]) == len(kept["runs"]) or record == "peer"
        assert all(len(line) == len(kept["protocol"][0]) for line in kept["protocol"])
        assert {key for key, *_ in kept["columns"]} <= set().union(*map(set, kept["rows"]))
        with (tmp_path / "out" / f"{record}.csv").open(newline="") as file:
            assert {row["run"] for row in csv.DictReader(file)} == {run["run"] for run in kept["runs"]}
        assert "--root" not in kept["command"]
        assert "digits" in kept["data"]
        if record == "gradient_estimators":
            nll = {row["estimator"]: row["nll"] for row in kept["rows"]}
            gains = {row["estimator"]: row["gain"] for row in kept["rows"] if row["estimator"] != "IWAE"}
            assert gains == pytest.approx({name: nll["IWAE"] - nll[name] for name in nll if name != "IWAE"})
    text = page.written(str(tmp_path / "out"))
    for record in records:
        assert f"]({KEPT.name}/{record}.csv)" in text
        assert f"]({KEPT.name}/{record}_curves.png)" in text
    assert set(text.partition("Not run yet: ")[2].partition(".")[0].split(", ")) == set(page.ORDER) - set(records)

    weights = sorted((tmp_path / "runs").rglob("*.safetensors"))
    written = [path.stat().st_mtime_ns for path in weights]
    done, command = [], reproduction.command
    monkeypatch.setattr(reproduction, "command", lambda words: done.append(words) or command(words))
    assert script(module.main, words) == 0
    assert {word for word, *_ in done} == {"train"}  # which finds that there is nothing to do
    assert [path.stat().st_mtime_ns for path in weights] == written
    with pytest.raises(SystemExit):
        script(module.main, [*words, "--seed", "3"])
    assert "seed must stay as it was" in capsys.readouterr().err
    for path in weights:  # as if they had been trained on since their evaluation
        os.utime(path, (2**32, 2**32))
    monkeypatch.setattr(reproduction, "command", lambda words: int(words[0] == "evaluate"))
    with pytest.raises(SystemExit):
        script(module.main, words)


@pytest.mark.parametrize("name", sorted(TINY))
def test_bad_input_is_refused_before_anything_is_trained(name, page, tmp_path, monkeypatch, capsys):
    module = module_of(f"reproductions/{name}", monkeypatch)
    assert script(module.main, ["--seed", "-1", "--runs", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "seed must be an integer of at least 0" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["gradient_estimators", "iwae", "vampprior"])
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--only", "[none]"], "only must be one of"),
        (["--num_samples", "1"], "num_samples must be an integer of at least 2"),
        (["--out", "/proc/none"], "none"),
        (["--out", str(KEPT)], "root must be the folder that holds MNIST, but none was given"),
    ],
)
def test_what_cannot_be_kept_is_refused_first(name, words, sentence, page, tmp_path, monkeypatch, capsys):
    refused(name, words, sentence, tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("name", "words", "sentence"),
    [
        ("vampprior", ["--frey", "/none"], "frey must be a file of the Frey faces, but /none was given"),
        ("vampprior", ["--only", "[frey_faces-vamp]"], "only must be one of mnist-standard, mnist-vamp"),
        ("annealing", ["--latents", "[]"], "latents and widths must hold integers, but () and"),
    ],
)
def test_what_cannot_be_run_is_refused_first(name, words, sentence, page, tmp_path, monkeypatch, capsys):
    refused(name, words, sentence, tmp_path, monkeypatch, capsys)


def refused(name, words, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    module = module_of(f"reproductions/{name}", monkeypatch)
    assert script(module.main, ["--runs", str(tmp_path), "--out", str(tmp_path), *words]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_only_what_is_asked_for_is_trained_and_what_is_missing_is_said(page, tmp_path, monkeypatch):
    module = module_of("reproductions/vampprior", monkeypatch)
    words = ["--epochs", "1", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path)]
    words += TINY["vampprior"][0].split()
    assert script(module.main, [*words, "--only", "[]"]) == 0
    assert not list(tmp_path.iterdir())
    assert script(module.main, [*words, "--only", "[mnist-standard]"]) == 0
    kept = json.loads((tmp_path / "vampprior.json").read_text())
    assert [row["prior"].startswith("standard normal") for row in kept["rows"]] == [True]
    assert "Not trained to the end yet: vamp." in kept["notes"]
    assert not kept["findings"]


@pytest.mark.slow
def test_frey_faces_in_bits(page, tmp_path, monkeypatch):
    module = module_of("reproductions/vampprior", monkeypatch)
    np.savez(tmp_path / "faces.npz", images=np.random.default_rng(0).integers(0, 256, (450, 28, 20), np.uint8))
    words = ["--frey", str(tmp_path / "faces.npz"), "--epochs", "1", "--only", "[frey_faces-standard]"]
    words += ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), *TINY["vampprior"][0].split()]
    assert script(module.main, words) == 0
    (row,) = json.loads((tmp_path / "out" / "frey_faces.json").read_text())["rows"]
    for key in ("nll", "standard_error", "annealed"):
        assert row[f"{key}_bits"] == pytest.approx(row[key] / (560 * math.log(2)))
    assert row["nll_bits"] > 7.9  # noise of 256 levels has 8 bits


class Evaluated(NamedTuple):
    """The part of an evaluation that is compared."""

    result: LogMarginal
    folder: str = "runs/some"


def evaluated(log_prob):
    log_prob = torch.tensor(log_prob)
    nothing = torch.zeros(len(log_prob))
    one = dict.fromkeys(["standard_error", "bias", "pareto_k", "ess", "elbo", "acceptance"], nothing)
    counts = {"num_samples": nothing, "num_evaluations": nothing, "method": "importance"}
    x = torch.arange(5.0)[: len(log_prob), None]
    return Evaluated(
        LogMarginal(log_prob=log_prob, **one, **counts, tail=nothing, draws={}, log_likelihood=nothing, x=x)
    )


def test_an_ordering_holds_if_the_gain_is_more_than_two_standard_errors(page):
    from results import ordering

    worse = evaluated([-5.0, -6.0, -7.0, -8.0, -9.0])
    clear, doubtful = evaluated([-4.0, -4.5, -6.5, -7.0, -7.5]), evaluated([-4.0, -7.0, -6.0, -9.0, -8.0])
    assert ordering("So", clear, worse, 1.22) == ("So: +1.10 ± 0.19 nats (published +1.22).", True)
    assert ordering("So", worse, clear) == ("So: -1.10 ± 0.19 nats.", False)
    assert ordering("So", doubtful, worse) == ("So: +0.20 ± 0.49 nats.", None)


def test_a_gap_is_how_far_importance_sampling_is_above_annealing(page, tmp_path, monkeypatch):
    import setting as reproduction

    sampled, annealed = evaluated([-5.0, -6.0, -7.0, -8.0, -9.0]), evaluated([-4.0, -4.0])
    asked = []
    monkeypatch.setattr(
        reproduction.Setting,
        "evaluate",
        lambda self, run, estimator, **options: (
            asked.append((estimator, options)) or (annealed if isinstance(estimator, Annealed) else sampled)
        ),
    )
    setting = reproduction.Setting(None, str(tmp_path), str(tmp_path), None, 1, 0)
    found, row = setting.judge(None, 50, 2, 7, weights="last")
    assert found is sampled
    assert (row["nll"], row["annealed"]) == (7.0, 4.0)
    assert (row["gap"], row["gap_error"]) == pytest.approx((1.5, 0.5))
    assert [options for _, options in asked] == [{"weights": "last"}, {"weights": "last", "num_data": 2}]
    assert asked[0][0].num_samples == 50
    assert asked[1][0].num_temperatures == 7


def test_what_is_published_has_the_sign_of_the_claim(page, monkeypatch):
    good, bad = evaluated([-4.0, -4.5, -6.5, -7.0, -7.5]), evaluated([-5.0, -6.0, -7.0, -8.0, -9.0])
    vampprior = module_of("reproductions/vampprior", monkeypatch)
    told = "The VampPrior is better: +1.10 ± 0.19 nats (published +2.02)."
    assert vampprior.findings("mnist", {"standard": bad, "vamp": good}) == [(told, True)]
    assert vampprior.findings("frey_faces", {"standard": good, "vamp": bad})[0][1] is False
    iwae = module_of("reproductions/iwae", monkeypatch)
    for better, worse in iwae.ORDERINGS.values():
        assert iwae.CELLS[better][-1] < iwae.CELLS[worse][-1]


def test_runs_are_compared_on_the_images_that_both_have(page):
    from results import paired

    first, second = evaluated([-5.0, -6.0, -7.0]), evaluated([-4.0, -4.0])
    assert paired(first, second) == pytest.approx((1.5, 0.5))
    other = Evaluated(dataclasses.replace(second.result, x=second.result.x + 1))
    with pytest.raises(InputError, match="runs must be evaluated on the same images"):
        paired(first, other)


def test_the_page_is_what_the_results_say(page):
    assert (ROOT / "docs" / "reproductions.md").read_text() == page.written(str(KEPT))


def test_what_is_kept_is_small_and_all_there(page):
    records = page.kept(str(KEPT))
    assert set(records) == {record for _, kept in TINY.values() for record in kept} | {"frey_faces"}
    for name in records:
        assert sum(path.stat().st_size for path in KEPT.glob(f"{name}*")) < 300_000


@pytest.mark.parametrize(("gap", "error", "found"), [(0.1, 0.1, True), (0.7, 0.1, None), (1.2, 0.1, False)])
def test_a_gap_is_smaller_by_more_than_its_error_or_nothing_is_shown(page, monkeypatch, gap, error, found):
    row = {**page.kept(str(KEPT))["bdmc"]["rows"][0], "their_gap": 0.8, "gap": gap, "gap_error": error}
    record = module_of("reproductions/bdmc", monkeypatch).record
    assert record([row], 5, 5, 100, 5)["findings"][0][1] is found
    assert record([{**row, "share": 0.03}], 5, 5, 100, 5)["findings"][0][1] is False  # more gradients than 2 %


def test_the_best_published_figures_stand_beside_ours(page):
    """From the worst to the best; not beside figures of the digits."""
    records = page.kept(str(KEPT))
    nll = [row["nll"] for row in page.beside(records)]
    assert nll == sorted(nll, reverse=True)
    assert {row["nll"] for row in records["iwae"]["rows"]} < set(nll)
    assert page.beside({"iwae": {**records["iwae"], "data": "digits"}}) == []


def test_what_the_page_links_is_there(page):
    links = re.findall(r"\]\((reproductions/[^)]*)\)", page.written(str(KEPT)))
    assert len(links) >= 2 * len(page.kept(str(KEPT)))
    assert all((ROOT / "docs" / link).is_file() for link in links)


def test_what_is_kept_is_what_the_scripts_say_of_its_rows(page, monkeypatch):
    kept = page.kept(str(KEPT))
    modules = {name: module_of(f"reproductions/{name}", monkeypatch) for name in TINY}
    grown, vampprior = kept["gradient_estimators"], modules["vampprior"]
    made = {
        "iwae": modules["iwae"].record(kept["iwae"]["rows"], kept["iwae"]["findings"], [], 5000, 1000, 100),
        "annealing": modules["annealing"].record(kept["annealing"]["rows"], 500, 5000, 300, 100),
        "gradient_estimators": modules["gradient_estimators"].record(
            grown["rows"], grown["notes"], grown["findings"], grown["columns"][5:], 60, 5000
        ),
        "bdmc": modules["bdmc"].record(kept["bdmc"]["rows"], 100, 20, 200_000, 100),
        "vampprior": vampprior.header("mnist") | {"protocol": vampprior.protocol("mnist", 250, 12, 500, 5000)},
        "frey_faces": vampprior.header("frey_faces")
        | {"protocol": vampprior.protocol("frey_faces", 600, 30, 500, 5000)},
    }
    for name, record in made.items():
        assert json.loads(json.dumps(record)).items() <= kept[name].items(), name


def test_a_figure_that_is_not_there_leaves_its_cell_empty(page):
    columns = [("name", "", ""), ("nll", "NLL", ".2f")]
    assert page.table(columns, [{"name": "a", "nll": 1.234}, {"name": "b", "nll": None}]).splitlines()[2:] == [
        "| a | 1.23 |",
        "| b |  |",
    ]
