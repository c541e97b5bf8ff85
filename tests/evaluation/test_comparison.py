"""Comparison: paired errors that are right over repetitions, tables, and what the command makes of runs' folders."""

import csv
import io
import itertools
import json
import math
import shlex
import shutil

import h5py
import numpy as np
import pytest
import torch
import yaml
from command_line import assert_one_sentence, contents

from pyrovae import Comparison, InputError, LogMarginal, compare
from pyrovae.cli import main
from pyrovae.runs import Run, common_evaluation

NAMES = ("log_prob", "standard_error", "bias", "pareto_k", "ess", "elbo", "acceptance", "num_samples")


def result(log_prob, standard_error=0.0, x=None, K=100, method="importance", bias=0.0, pareto_k=0.1):
    """Make a result of given log p(x) of each datum, with everything else alike."""
    log_prob = torch.as_tensor(log_prob, dtype=torch.float64)
    B = len(log_prob)
    given = (log_prob, standard_error, bias, pareto_k, 50.0, -100.0, math.nan, K)
    figures = {
        name: torch.as_tensor(value, dtype=torch.float64).expand(B) for name, value in zip(NAMES, given, strict=True)
    }
    return LogMarginal(
        **{**figures, "num_samples": figures["num_samples"].long()},
        num_evaluations=figures["num_samples"].long(),
        method=method,
        tail=torch.zeros(0, B),
        draws={},
        log_likelihood=torch.zeros(B, 0),
        x=torch.arange(B)[:, None] if x is None else x,
    )


def simulated(seed, count, gap=0.3, noise=0.4, x=(None, None)):
    """Make two results whose NLLs differ by ``gap``: hard and easy images, models' own deviations, Monte Carlo."""
    generator = torch.Generator().manual_seed(seed)
    hard, first, second, *errors = torch.randn(5, count, generator=generator, dtype=torch.float64)
    a = result(-90 + 15 * hard + 0.5 * first + noise * errors[0], noise, x[0])
    if x[1] is not None:
        hard = torch.randn(count, generator=generator, dtype=torch.float64)
    b = result(-90 + 15 * hard - gap + 0.8 * second.exp() - 0.8 * math.exp(0.5) + noise * errors[1], noise, x[1])
    return {"a": a, "b": b}


@pytest.mark.slow
@pytest.mark.parametrize("paired", [True, False])
def test_intervals_cover_the_true_difference(paired):
    x = (None, None) if paired else (torch.zeros(80, 1), torch.ones(80, 1))
    covered, estimates, errors = 0, [], []
    for seed in range(200):
        best, other = compare(simulated(seed, 80, x=x)).rows
        assert other.paired == paired
        sign = 1.0 if best.name == "a" else -1.0
        covered += other.low <= sign * 0.3 <= other.high
        estimates.append(sign * other.difference)
        errors.append(other.difference_error)
    assert 0.90 * 200 <= covered <= 0.99 * 200
    assert np.mean(errors) == pytest.approx(np.std(estimates), rel=0.15)
    assert (np.mean(errors) < 0.3) == paired  # the images' own spread, 15 nats, is in it only if nothing is paired


def test_the_monte_carlo_error_is_counted_once():
    generator = torch.Generator().manual_seed(0)
    exact = -90 + 15 * torch.randn(4000, generator=generator, dtype=torch.float64)
    noise = 0.1 * torch.randn(2, 4000, generator=generator, dtype=torch.float64)
    best, other = compare({"a": result(exact + noise[0], 0.1), "b": result(exact - 5 + noise[1], 0.1)}).rows
    assert best.mc_error == pytest.approx(0.1 / math.sqrt(4000))
    assert other.difference_error == pytest.approx(math.hypot(best.mc_error, other.mc_error), rel=0.05)


def test_a_run_does_not_differ_from_itself():
    values = torch.randn(50) - 90
    best, other = compare({"b": result(values, bias=1.0), "a": result(values, bias=1.0)}).rows
    assert (best.name, other.name) == ("a", "b")  # a tie goes by the names
    assert other.difference == other.difference_error == 0
    assert (other.low, other.high) == (-1, 1)  # either may be too large by its bias
    assert other.distinguishable is False
    assert best.stacking_weight is None is other.stacking_weight  # the mixture of the two is either of them


def test_the_order_of_runs_does_not_matter():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(30, 3, generator=generator) * 3 - 90
    values[:, 2] = values[:, 0]  # a tie
    results = {name: result(values[:, i]) for i, name in enumerate("abc")}
    tables = {str(compare(dict(order))) for order in itertools.permutations(results.items())}
    assert len(tables) == 1


def test_rows_hold_the_textbooks_figures():
    a, b = torch.tensor([-1.0, -2.0, -6.0]), torch.tensor([-2.0, -2.5, -7.5])
    comparison = compare({"b": result(b, 0.3), "a": result(a, 0.3)}, lambda nll: nll / 2)
    best, other = comparison.rows
    assert (best.nll, best.bits_per_dim, other.nll, other.bits_per_dim) == (3.0, 1.5, 4.0, 2.0)
    assert best.standard_error == pytest.approx(math.sqrt(7 / 3))  # deviations 2, 1, -3: variance 7
    assert best.mc_error == pytest.approx(0.3 / math.sqrt(3))
    assert (other.difference, other.difference_error) == (1.0, pytest.approx(0.5 / math.sqrt(3)))  # 1, 0.5, 1.5
    quantile = 4.302653  # Student's, two degrees of freedom
    assert other.high - 1 == pytest.approx(quantile * 0.5 / math.sqrt(3), rel=1e-5) == 1 - other.low
    assert other.distinguishable is False
    apart = compare({"a": result(a), "b": result(b, x=torch.ones(3, 1))}).rows[1]
    assert apart.difference_error == pytest.approx(math.hypot(best.standard_error, other.standard_error))
    assert not apart.paired


def test_only_runs_of_the_same_data_are_paired():
    values = torch.randn(40) - 90
    results = {"a": result(values), "b": result(values - 1), "c": result(values - 2, x=torch.zeros(40, 1))}
    comparison = compare(results)
    assert [row.paired for row in comparison.rows] == [True, True, False]
    assert comparison.elpd is None
    assert all(row.stacking_weight is None for row in comparison.rows)
    assert "stacking" not in comparison.cells()[0]
    assert [line[6].endswith(" *") for line in comparison.cells()[1:]] == [False, False, True]
    assert "The data of c are not those of a" in " ".join(comparison.warnings)
    few = compare({"a": result(values), "b": result(values[:20])}).rows[1]
    assert (few.paired, few.num_data) == (False, 20)


def mixture_of(log_prob):
    """Return the weights of the mixture that explains the data best, by expectation maximisation."""
    weights = torch.full(log_prob.shape[1:], 1 / log_prob.shape[1], dtype=torch.float64)
    for _ in range(5000):
        weights = (log_prob + weights.log()).softmax(1).mean(0)
    return weights


@pytest.mark.parametrize("level", [-3.0, -3000.0])  # e^-3000 is zero in every float
def test_arviz_table(level):
    generator = torch.Generator().manual_seed(1)
    values = level + 2 * torch.randn(300, 3, generator=generator, dtype=torch.float64) - torch.tensor([0.0, 1.0, 9.0])
    comparison = compare({name: result(values[:, i]) for i, name in enumerate("abc")})
    for row, weight in zip(comparison.rows, mixture_of(values), strict=True):
        line = comparison.elpd.loc[row.name]
        assert line["elpd"] == pytest.approx(-300 * row.nll)
        assert line["elpd_diff"] == pytest.approx(300 * row.difference)
        assert line["dse"] / 300 == pytest.approx(row.difference_error * math.sqrt(299 / 300))
        assert line["stacking_weight"] == row.stacking_weight == pytest.approx(weight.item(), abs=0.01)
        assert not line["warning"]
    assert comparison.rows[1].stacking_weight > 0.1
    assert comparison.cells()[0][-1] == "stacking"
    assert not any("loo" in column for column in comparison.elpd.columns)


def test_models_that_cannot_be_told_apart_have_no_weights():
    """Stacking gives the one that is ahead by chance everything."""
    generator = torch.Generator().manual_seed(1)
    values = -90 + 5 * torch.randn(200, 1, generator=generator, dtype=torch.float64)
    values = values + 1e-3 * torch.randn(200, 2, generator=generator, dtype=torch.float64)
    comparison = compare({"a": result(values[:, 0]), "b": result(values[:, 1])})
    assert comparison.rows[1].distinguishable is False
    assert [row.stacking_weight for row in comparison.rows] == [None, None]
    assert comparison.elpd["stacking_weight"].isna().all()
    assert "stacking" not in str(comparison)


def test_k_hat_warns_in_arviz_table():
    values = torch.randn(30)
    table = compare({"a": result(values), "b": result(values - 1, pareto_k=0.9)}).elpd
    assert (bool(table.loc["a", "warning"]), bool(table.loc["b", "warning"])) == (False, True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bias": 0.1}, None),
        ({"bias": 0.6}, "NLL of b may be too large by 0.6 nats"),
        ({"K": 16, "method": "annealed"}, "importance, K = 100 (a); annealed, K = 16 (b)"),
        ({"K": 200}, "importance, K = 100 (a); importance, K = 200 (b)"),
        ({}, None),
    ],
)
def test_warnings(change, words):
    values = torch.randn(200) - 90
    comparison = compare({"a": result(values), "b": result(values - 0.5 + 0.1 * torch.randn(200), **change)})
    assert (words in " ".join(comparison.warnings)) if words else comparison.warnings == ()


def test_adaptive_effort_differs_without_a_warning():
    values = torch.randn(20)
    results = {"a": result(values, K=50, method="adaptive"), "b": result(values - 1, K=90, method="adaptive")}
    assert compare(results).warnings == ()


def test_a_sandwich_tells_the_bias():
    values = torch.randn(200) - 90
    results = {"a": result(values), "b": result(values - 0.5, bias=0.01)}
    best, other = compare(results, gaps={"b": 0.7}).rows
    assert (best.bias, other.bias) == (0.0, 0.7)
    assert "NLL of b may be too large by 0.7 nats" in str(compare(results, gaps={"b": 0.7}))
    assert compare(results, gaps={"a": -0.02}).rows[0].bias == 0  # by chance


def test_one_datum_has_no_error():
    comparison = compare({"a": result([-1.0]), "b": result([-2.0])})
    other = comparison.rows[1]
    assert other.difference == 1
    assert math.isnan(other.difference_error)
    assert other.distinguishable is None
    assert "unknown" in str(comparison)
    assert "cannot be told apart" not in str(comparison)
    apart = compare({"a": result([-1.0]), "b": result([-2.0], x=torch.ones(1, 1))}).rows[1]
    assert math.isnan(apart.difference_error)


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ({}, "two models or more, but of 0"),
        ({"a": result([0.0])}, "two models or more, but of 1"),
        ({"a": result([0.0]), "b": result([-math.inf])}, "finite, but log p(x) of 1 data is not for b"),
        ({"a": result([0.0]), "b": result([0.0], x=torch.zeros(1, 2, 3))}, "one shape, but the shapes are (1,) for a"),
    ],
)
def test_bad_results(results, words):
    with pytest.raises(InputError) as caught:
        compare(results)
    assert words in str(caught.value)


@pytest.fixture(scope="module")
def table():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(100, generator=generator)
    worse = values - 0.02 * torch.rand(100, generator=generator)
    return compare({"a|b": result(values, 0.01), "second": result(worse, math.nan)})


def test_text_shows_two_digits_of_the_smallest_error(table: Comparison):
    first, *_, blank, difference, verdict, _ = str(table).splitlines()
    assert first.split()[:4] == ["run", "NLL", "s.e.", "MC"]
    assert blank == ""
    assert difference == "Differences are to a|b, paired over the same 100 data."
    assert verdict.startswith("a|b: k̂ is below")
    error = table.rows[1].difference_error
    assert table.cells()[2][6] == f"{error:.5f}"
    assert 0.0001 < error < 0.001
    assert table.cells()[2][3] == "unknown"  # the Monte Carlo error
    assert "bits/dim" not in table.cells()[0]


def test_markdown_has_as_many_cells_in_each_row(table: Comparison):
    lines = [line for line in table.markdown().splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert "a\\|b" in lines[2]
    assert "- Differences are to a|b" in table.markdown()


def test_csv_holds_every_figure_unrounded(table: Comparison):
    best, other = csv.DictReader(io.StringIO(table.csv()))
    assert float(other["difference"]) == table.rows[1].difference
    assert (best["name"], other["distinguishable"], other["mc_error"]) == ("a|b", "True", "")


SMALL = '--posterior.network.hidden_features "[8]" --likelihood.network.hidden_features "[8]" --compile off --epochs 1'
VARIANTS = {
    "first": "",
    "second": "--seed 1",
    "split": "--data Digits --data.seed 1",
    "grey": "--data Digits --data.binarization none --data.dequantize true --likelihood Gaussian",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Train small runs: two of the same data, one of another split, one of another kind of likelihood."""
    folder = tmp_path_factory.mktemp("runs")
    for name, options in VARIANTS.items():
        assert main(shlex.split(f"train --run {folder}/{name} --latent_dim 2 {SMALL} {options}")) == 0
        assert main(shlex.split(f"evaluate {folder}/{name} --num_samples 30 --num_draws 1")) == 0
    for options in ("--num_samples 10", "--num_samples 30 --split validation", "--num_samples 30 --num_data 20"):
        assert main(shlex.split(f"evaluate {folder}/second {options} --num_draws 1 --num_checked 0")) == 0
    return folder


def compared(runs, names, tmp_path, *options):
    words = ["compare", *(str(runs / name) for name in names), f"--out={tmp_path / 'out'}", *options]
    return main(words)


@pytest.mark.slow
def test_the_command_writes_four_files(runs, tmp_path, capsys):
    assert compared(runs, ["first", "second"], tmp_path) == 0
    shown = capsys.readouterr().out
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(files) == {f"comparison.{ending}" for ending in ("txt", "md", "csv", "png")}
    text = files["comparison.txt"].decode()
    assert shown.startswith(text.partition("\nArviZ's")[0])
    assert text.startswith("Evaluation test-importance-30\n")
    assert "elpd_diff" in text
    assert files["comparison.md"].decode().startswith("Evaluation test-importance-30\n\n| run |")
    assert files["comparison.png"].startswith(b"\x89PNG")
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(files["comparison.csv"].decode()))}
    values = {}
    for name in ("first", "second"):
        entry = Run(runs / name).evaluations()["test-importance-30"]
        values[name] = Run(runs / name).values("test-importance-30").sample_stats["log_prob"].values
        assert float(rows[name]["nll"]) == pytest.approx(entry["nll"])
        assert float(rows[name]["bits_per_dim"]) == pytest.approx(entry["bits_per_dim"])
        assert float(rows[name]["standard_error"]) == pytest.approx(entry["standard_error"])
        assert float(rows[name]["mc_error"]) == pytest.approx(entry["mc_error"])
        assert rows[name]["verdict"] == entry["verdict"]
        assert rows[name]["paired"] == "True"
    d = values["first"] - values["second"]
    differences = [float(row["difference"]) for row in rows.values()]
    assert max(differences) == pytest.approx(abs(d.mean()))
    assert max(float(row["difference_error"]) for row in rows.values()) == pytest.approx(d.std(ddof=1) / len(d) ** 0.5)


@pytest.mark.slow
def test_other_data_are_not_paired_and_the_reason_is_told(runs, tmp_path, capsys):
    assert compared(runs, ["first", "second", "split"], tmp_path) == 0
    shown = capsys.readouterr().out
    assert "The data of split are not those of " in shown or "The data of first and second are not those of" in shown
    assert "The data's seed differs: 0 in first and second, 1 in split." in shown
    assert "binarization" not in shown
    assert " *" in shown
    rows = csv.DictReader(io.StringIO((tmp_path / "out" / "comparison.csv").read_text()))
    assert {row["stacking_weight"] for row in rows} == {""}
    assert "elpd" not in (tmp_path / "out" / "comparison.txt").read_text()


@pytest.mark.slow
def test_one_evaluation_for_each_run(runs, tmp_path, capsys):
    assert compared(runs, ["first", "second"], tmp_path, "--evaluation=[test-importance-30, test-importance-10]") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Evaluations test-importance-30 of first, test-importance-10 of second\n")
    assert "The estimators differ" in shown
    assert "importance, K = 10 (second)" in shown
    names = "--evaluation=[test-importance-30, test-importance-30-first20]"
    assert compared(runs, ["first", "second"], tmp_path, names) == 0
    assert "The data's number of data differs: 180 in first, 20 in second." in capsys.readouterr().out


@pytest.mark.slow
def test_a_sandwich_that_was_measured_is_told(runs, tmp_path, capsys):
    shutil.copytree(runs / "first", tmp_path / "first")
    path = tmp_path / "first" / "evaluation" / "test-importance-30.json"
    entry = json.loads(path.read_text())
    bounds = {"lower": -90.0, "upper": -40.0, "gap": 50.0, "gap_error": 1.0, "num_simulated": 10}
    entry["sandwich"] = {**bounds, "sentence": "It is 50 nats off."}
    path.write_text(json.dumps(entry))
    assert compared(tmp_path, ["first", runs / "second"], tmp_path) == 0
    shown = capsys.readouterr().out
    assert "first: It is 50 nats off." in shown
    assert "may be too large by 50 nats" in shown


@pytest.mark.slow
def test_runs_are_named_by_what_tells_them_apart(runs, tmp_path, capsys):
    for name in ("x", "y"):
        shutil.copytree(runs / "first", tmp_path / name / "vae")
    assert compared(tmp_path, ["x/vae", "y/vae"], tmp_path) == 0
    best, other = csv.DictReader(io.StringIO((tmp_path / "out" / "comparison.csv").read_text()))
    assert (best["name"], other["name"]) == ("x/vae", "y/vae")
    assert float(other["difference"]) == 0


@pytest.mark.slow
def test_runs_may_come_from_a_configuration(runs, tmp_path, capsys):
    assert compared(runs, ["first", "second"], tmp_path, "--print_config") == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["runs"] == [str(runs / "first"), str(runs / "second")]
    (tmp_path / "c.yaml").write_text(printed)
    assert main(["compare", f"--config={tmp_path / 'c.yaml'}"]) == 0
    assert (tmp_path / "out" / "comparison.csv").exists()


def entry(split="test", share_annealed=0.0, num_data=180, weights="best", num_evaluations=100, **others):
    known = {"split": split, "share_annealed": share_annealed, "num_data": num_data, "weights": weights}
    return {**known, "num_evaluations": num_evaluations, **others}


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"adaptive": {"reached": True}}, {"share_annealed": 1.0, "num_evaluations": 10**6}),
        ({"share_annealed": 1.0}, {"share_annealed": 0.5, "adaptive": {"reached": False}}),
        ({"share_annealed": 1.0}, {"num_evaluations": 10**6}),
        ({}, {"num_data": 20, "num_evaluations": 10**6}),
        ({}, {"weights": "last", "num_evaluations": 10**6}),
        ({"num_evaluations": 200}, {"num_evaluations": 100}),
        ({}, {"split": "train", "share_annealed": 1.0}),
    ],
)
def test_the_closest_common_evaluation_is_taken(better, worse):
    for order in ([("better", better), ("worse", worse)], [("worse", worse), ("better", better)]):
        found = {name: entry(**options) for name, options in order}
        assert common_evaluation({"a": found, "b": {**found, "other": entry(adaptive={"reached": True})}}) == "better"


def tamper(path, change):
    """Change one evaluation's JSON."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def json_of(change):
    return lambda run: tamper(run / "evaluation" / "test-importance-30.json", change)


def netcdf_of(change):
    def prepare(run):
        with h5py.File(run / "evaluation" / "test-importance-30.nc", "r+") as file:
            change(file)

    return prepare


def cut(run):
    path = run / "evaluation" / "test-importance-30.nc"
    path.write_bytes(path.read_bytes()[:2000])


def shorten(file):
    """Leave fewer figures than there are data."""
    values = file["sample_stats"]["log_prob"][:5]
    del file["sample_stats"]["log_prob"]
    file["sample_stats"]["log_prob"] = values


NC = "test-importance-30.nc"
ROWS = {
    "no run": ("", ["runs must be given"]),
    "one run": ("{first}", ["runs must be two folders or more", "first"]),
    "one run twice": ("{first} {run}/../first", ["runs must be different", "first", "twice"]),
    "no run there": ("{first} {d}", ["config.yaml"]),
    "an evaluation that one lacks": ("{run} {first} --evaluation test-importance-10", ["evaluation", "first", "-30"]),
    "an evaluation that both lack": ("{first} {run} --evaluation none", ["evaluation must", "test-importance-30"]),
    "names for three runs": ("{first} {run} --evaluation '[a, b, c]'", ["evaluation", "2 runs", "a, b, c"]),
    "two splits": (
        "{first} {run} --evaluation '[test-importance-30, validation-importance-30]'",
        ["evaluation", "one split", "test for first, validation for run"],
    ),
    "density and probability": (
        "{first} {grey}",
        ["runs must be of one kind", "a probability for first", "17 levels for grey", "bits/dim are"],
    ),
    "likelihood and none": (
        "{first} {run}",
        ["one kind", "a probability for first", "no likelihood (The data are grey) for run"],
        json_of(lambda content: content.update(caveats=["The data are grey."], bits_per_dim=None)),
    ),
    "nothing in common": (
        "{first} {run}",
        ["in common", "first has test-importance-30", "run has none", "pyrovae evaluate", "--evaluation"],
        lambda run: shutil.rmtree(run / "evaluation"),
    ),
    "into a file": ("{first} {run} --out {run}/config.yaml", ["config.yaml", "cannot be written"]),
    "netCDF missing": ("{first} {run}", [NC, "missing"], lambda run: (run / "evaluation" / NC).unlink()),
    "netCDF cut short": ("{first} {run}", [NC, "cannot be read"], cut),
    "netCDF empty": ("{first} {run}", [NC, "cannot be read"], lambda run: (run / "evaluation" / NC).write_bytes(b"")),
    "netCDF lacks a figure": (
        "{first} {run}",
        [NC, "bias"],
        netcdf_of(lambda file: file["sample_stats"].__delitem__("bias")),
    ),
    "netCDF lacks the data": ("{first} {run}", [NC, "observed"], netcdf_of(lambda file: file.pop("observed_data"))),
    "netCDF of too few": ("{first} {run}", [NC], netcdf_of(shorten)),
    "netCDF of another evaluation": (
        "{first} {run}",
        ["test-importance-30.json and", "one evaluation"],
        json_of(lambda content: content.update(nll=1.0)),
    ),
    "JSON lacks a figure": ("{first} {run}", ["30.json", "lacks 'nll'"], json_of(lambda content: content.pop("nll"))),
    "JSON's number is none": (
        "{first} {run}",
        ["30.json", "many"],
        json_of(lambda content: content.update(nll="many")),
    ),
    "JSON's sandwich": (
        "{first} {run}",
        ["30.json", "sandwich.gap"],
        json_of(lambda content: content.update(sandwich={})),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_bad_input_is_one_sentence(row, runs, tmp_path, monkeypatch, capsys):
    command, says, *prepare = row
    monkeypatch.chdir(tmp_path)
    for name, source in (("first", "first"), ("run", "second"), ("grey", "grey")):
        if f"{{{name}}}" in command:
            shutil.copytree(runs / source, tmp_path / name)
    for step in prepare:
        step(tmp_path / "run")
    before = contents(tmp_path)
    capsys.readouterr()
    folders = {name: tmp_path / name for name in ("first", "run", "grey")}
    assert main(shlex.split(f"compare {command}".format(d=tmp_path, **folders))) == 2
    assert_one_sentence(capsys.readouterr().err, says)
    assert contents(tmp_path) == before, "something was written or lost"
