"""Files of a run that were edited by hand, cut short or sent by somebody else: one sentence each, and no traceback."""

import io
import json
import math
import shlex
import shutil
from functools import partial

import h5py
import numpy as np
import pandas
import pytest
import torch
from command_line import assert_one_sentence

import pyrovae
from pyrovae import MLP, VAE, Bernoulli, DiagonalNormal, InputError, StandardNormal
from pyrovae.cli import main
from pyrovae.report.summary import reproduction_steps
from pyrovae.runs import Run
from pyrovae.runs import parts as of_parts

SMALL = partial(MLP, hidden_features=(4,))
NAME = "evaluation/all-importance-20"
HUGE = 10**400  # an integer that no float holds
REPORT = "report {run} --split all --quiet"
SWEEP = "sweep {run}/sweep.yaml --folder {run}/sweep --trials 1"
DIAGNOSIS = {
    "format": 1,
    "elbo": -2.5,
    "num_data": 40,
    "calibration": {"num_simulated": 5, "num_draws": 2, "histograms": {"z[0]": [2, 2, 1]}},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was saved, with an evaluation and a diagnosis."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    vae = VAE(StandardNormal(2), Bernoulli((4,), 2, network=SMALL), DiagonalNormal((4,), 2, network=SMALL))
    pyrovae.save(folder, vae, torch.bernoulli(torch.full((40, 4), 0.5)))
    assert main(["evaluate", str(folder), "--split=all", "--num_samples=20", "--num_checked=0", "--quiet"]) == 0
    (folder / "diagnosis").mkdir()
    (folder / "diagnosis" / "test.json").write_text(json.dumps(DIAGNOSIS))
    (folder / "sweep.yaml").write_text("epochs: 1\nsearch: {latent_dim: [1, 2]}\n")
    return folder


def put(file, *path, value):
    """Return a change of one value of a JSON file."""

    def change(run):
        content = json.loads((run / file).read_text())
        place = content
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        (run / file).write_text(json.dumps(content))

    return change


def raw(file, content):
    def change(run):
        (run / file).parent.mkdir(parents=True, exist_ok=True)
        (run / file).write_bytes(content)

    return change


def without(file, key):
    def change(run):
        content = json.loads((run / file).read_text())
        del content[key]
        (run / file).write_text(json.dumps(content))

    return change


def cut(file):
    return lambda run: (run / file).write_bytes((run / file).read_bytes()[:-40])


def recoded(file):
    return lambda run: (run / file).write_bytes((run / file).read_text().encode("utf-16"))


def netcdf(name, make):
    """Return a change of a variable of the netCDF file."""

    def change(run):
        with h5py.File(run / f"{NAME}.nc", "r+") as file:
            group, _, variable = name.partition("/")
            values = file[group][variable][...]
            del file[group][variable]
            file[group][variable] = make(values)

    return change


def array(values):
    np.save(file := io.BytesIO(), values)
    return file.getvalue()


def metrics(numbers):
    return raw("metrics.csv", ",".join(pyrovae.History().columns()).encode() + numbers)


EVALUATION, NC, RECORD = f"{NAME}.json", f"{NAME}.nc", "data.json"
DAMAGED = {
    **{
        f"evaluation's {path} {value!r:.20}": (REPORT, [EVALUATION, *path[:1]], put(EVALUATION, *path, value=value))
        for path in (("nll",), ("num_data",), ("share_annealed",), ("ess", "50%"), ("certificate", "nll"))
        for value in (math.nan, "1.5", HUGE, 1e308, [1.0], True)
    },
    **{
        f"evaluation's {path} {value!r}": (REPORT, [EVALUATION, *path[:1]], put(EVALUATION, *path, value=value))
        for path, value in [
            (("num_samples",), 1.5),
            (("num_data",), -1),
            (("split",), 3),
            (("verdict",), {}),
            (("caveats",), "none"),
            (("caveats",), [3]),
            (("estimator",), "importance"),
            (("pareto_k",), None),
            (("sandwich",), {"gap": 1.0}),
            (("baseline",), 3.0),
            (("health",), ["collapsed"]),
            (("convergence",), {"bound": 1.0}),
            (("convergence", 0), {"bound": 1.0}),
            (("adaptive",), {"reached": "yes"}),
            (("other_data",), 5),
        ]
    },
    **{
        f"evaluation without {key}": (REPORT, [EVALUATION, f"lacks '{key}'"], without(EVALUATION, key))
        for key in ("nll", "elbo", "ess", "caveats")
    },
    "evaluation cut short": (REPORT, [EVALUATION], cut(EVALUATION)),
    "evaluation in another encoding": (REPORT, [EVALUATION], recoded(EVALUATION)),
    "evaluation nested without end": (REPORT, [EVALUATION], raw(EVALUATION, b"[" * 100_000)),
    "evaluation to compare": ("compare {run} {other}", [EVALUATION], put(EVALUATION, "verdict", value=None)),
    "evaluation to share": ("push {run} {run}/shared", [EVALUATION], put(EVALUATION, "nll", value="few")),
    "values cut short": (REPORT, [NC], cut(NC)),
    "values of a page": (REPORT, [NC], raw(NC, b"<!doctype html>")),
    "values of text": (REPORT, [NC, "numbers alone"], netcdf("sample_stats/log_prob", lambda x: [b"a"] * len(x))),
    "values of too few": (REPORT, [NC, "for each datum"], netcdf("sample_stats/log_prob", lambda x: x[:5])),
    "values of one number": (REPORT, [NC], netcdf("observed_data/x", lambda x: x[0, 0])),
    "values of more than there are": (
        "report {run} --split test --quiet",
        [NC, "of which there are"],
        put(EVALUATION, "split", value="test"),
    ),
    **{
        f"diagnosis's {path} {value!r:.20}": (
            REPORT,
            ["diagnosis/test.json"],
            put("diagnosis/test.json", *path, value=value),
        )
        for path, value in [
            (("elbo",), None),
            (("elbo",), HUGE),
            (("rate",), "small"),
            (("notes",), "none"),
            (("calibration",), []),
            (("calibration", "histograms"), {}),
            (("calibration", "num_draws"), 10**12),
            (("calibration", "num_simulated"), 10**12),
            (("calibration", "histograms", "z[0]"), [5]),
            (("calibration", "histograms", "z[0]"), [2, 2, "1"]),
        ]
    },
    **{
        f"data's {path} {value!r:.20}": (command, [RECORD], put(RECORD, *path, value=value))
        for command in (REPORT, "evaluate {run} --num_samples 2", "sample {run}")
        for path, value in [
            (("sizes",), None),
            (("sizes", "test"), "many"),
            (("data_shape",), [4.0]),
            (("data_shape",), [HUGE]),
            (("classes",), "all"),
            (("kind",), None),
            (("hashes",), {}),
            (("schema",), {"columns": [{"name": 3}]}),
        ]
    },
    "data without a size": (REPORT, [RECORD, "lacks 'sizes'"], without(RECORD, "sizes")),
    "data nested without end": (REPORT, [RECORD], raw(RECORD, b"[" * 100_000)),
    "epochs in disorder": (REPORT, ["metrics.csv", "numbered from 1"], metrics(b"\n7" + b",1" * 8 + b"\n")),
    "epochs of many digits": (REPORT, ["metrics.csv"], metrics(b"\n" + b"1" * 5000 + b",1" * 8 + b"\n")),
    "a sweep's journal of text": (
        SWEEP,
        ["sweep.journal", "cannot be read"],
        raw("sweep/sweep.journal", b"hello\nworld\n"),
    ),
    "a sweep's journal of bytes": (
        SWEEP,
        ["sweep.journal", "cannot be read"],
        raw("sweep/sweep.journal", b"\xff\xfe\n{}\n"),
    ),
    "a sweep's journal of other things": (
        SWEEP,
        ["sweep.journal", "cannot be read"],
        raw("sweep/sweep.journal", b"[1]\n[2]\n"),
    ),
    "a sweep's options": (
        SWEEP,
        ["base.yaml", "cannot be read"],
        lambda run: [raw(f"sweep/{name}", b"a: [")(run) for name in ("base.yaml", "trial-000/metrics.csv")],
    ),
    "what is searched": (SWEEP, ["sweep.yaml", "cannot be read"], raw("sweep.yaml", b"[" * 20_000)),
}


@pytest.mark.parametrize("row", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_named_in_one_sentence(row, whole, tmp_path, monkeypatch, capsys):
    command, says, damage = row
    run = shutil.copytree(whole, tmp_path / "run")
    damage(run)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(shlex.split(command.format(run=run, other=whole))) == 2
    assert_one_sentence(capsys.readouterr().err, says)


def test_what_was_infinite_is_unknown_on_the_page(whole, tmp_path):
    """JSON has no infinity: a bound, or a model without latents, may have none of these."""
    run = shutil.copytree(whole, tmp_path / "run")
    sandwich = {
        **dict.fromkeys(("lower", "upper", "gap", "gap_error")),
        "num_simulated": 5,
        "sentence": "It is infinite.",
    }
    put(EVALUATION, "sandwich", value=sandwich)(run)
    put(EVALUATION, "baseline", value={"nll": None, "family": "Bernoulli"})(run)
    page = pyrovae.report.write_report(run, split="all").read_text()
    assert "unknown and unknown nats" in page
    assert Run(run).evaluations()["all-importance-20"]["sandwich"] == sandwich


@pytest.mark.parametrize("content", [b"[" * 100_000, b"[]", b"{}", b"\xff"])
def test_the_page_names_a_damaged_record_of_a_refitting(content, tmp_path):
    (tmp_path / "refitted.json").write_bytes(content)
    with pytest.raises(InputError, match=r"refitted\.json must name the run that was refitted"):
        reproduction_steps(Run(tmp_path))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read"),
        (b"<!doctype html>", "cannot be read"),
        (array(np.zeros((2, 3))), "holds no rows of a table"),
        (array(np.zeros(3, dtype=[("row", "i8"), ("other", "f8")])), "other columns"),
    ],
)
def test_a_damaged_part_of_a_table_is_named(content, words, tmp_path, monkeypatch):
    monkeypatch.setattr(of_parts, "BLOCKS", 1)
    blocks = [pandas.DataFrame({"row": [i], "log_prob": [0.5]}) for i in range(2)]
    kept = of_parts.Parts(tmp_path / "scores.csv", {"seed": 0})
    next(kept.kept(blocks))
    (tmp_path / ".scores.csv.parts" / "00000000.npy").write_bytes(content)
    with pytest.raises(InputError, match=words):
        list(of_parts.Parts(tmp_path / "scores.csv", {"seed": 0}).kept(blocks[1:]))


@pytest.mark.parametrize("content", [b"\xff\xfe", b""])
def test_parts_with_a_damaged_key_are_made_again(content, tmp_path, monkeypatch):
    monkeypatch.setattr(of_parts, "BLOCKS", 1)
    blocks = [pandas.DataFrame({"row": [i]}) for i in range(2)]
    next(of_parts.Parts(tmp_path / "scores.csv", {}).kept(blocks))
    (tmp_path / ".scores.csv.parts" / "key").write_bytes(content)
    assert of_parts.Parts(tmp_path / "scores.csv", {}).num_blocks == 0
