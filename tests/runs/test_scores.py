"""Scores and codes are those of the file's rows, in its order, and exact where an exact answer exists."""

from functools import partial

import numpy as np
import pandas
import pytest
import torch
from linear_gaussian import LinearGaussianProgram

import pyrovae
from pyrovae import DataSet, HierarchicalVAE, Importance, InputError, encode
from pyrovae.cli import main
from pyrovae.prediction import posterior_scales, sample_posterior
from pyrovae.runs import Run, encode_run, score_run
from pyrovae.runs import blocks as of_blocks


@pytest.fixture(scope="module")
def oracle():
    return LinearGaussianProgram((6,), 2)


@pytest.fixture(scope="module")
def x(oracle):
    return oracle.simulate(230).float()


@pytest.fixture(scope="module")
def folder(oracle, x, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "exact"
    pyrovae.save(folder, oracle, DataSet(x))
    return folder


def test_log_prob_of_each_row_is_exact_and_in_the_files_order(oracle, x, folder, tmp_path, capsys):
    words = ["score", str(folder), "--num_samples=30", "--quiet"]
    assert main([*words, f"--out={tmp_path / 'scores.csv'}"]) == 0
    assert "230 of 230 estimates can be trusted" in capsys.readouterr().out
    table = pandas.read_csv(tmp_path / "scores.csv")
    assert table["row"].tolist() == list(range(230))
    exact = oracle.log_prob(x.double()).numpy()
    np.testing.assert_allclose(table["log_prob"], exact, rtol=0, atol=1e-9)
    np.testing.assert_allclose(table["elbo"], exact, rtol=0, atol=1e-9)
    code = encode(oracle.guide, x)["z"]
    error = (x.double() - code @ oracle.W.T - oracle.b).square().sum(1)
    np.testing.assert_allclose(table["anomaly_score"], error, rtol=1e-6)
    assert table["reliable"].dtype == bool
    assert main([*words, "--split=test", f"--out={tmp_path / 'scores.npy'}"]) == 0
    some = pandas.DataFrame(np.load(tmp_path / "scores.npy"))
    assert some["row"].tolist() == DataSet(x).test.rows.tolist()
    np.testing.assert_allclose(some["log_prob"], exact[some["row"]], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(pyrovae.load(folder).score(x[:9], num_samples=30)["reliable"], True)


def test_new_data_are_scored_also_one_alone(oracle, x, folder, tmp_path, capsys):
    np.save(tmp_path / "one.npy", x[5:6].numpy())
    found = ["--data=ArrayFile", f"--data.path={tmp_path / 'one.npy'}", f"--out={tmp_path / 'one.csv'}", "--quiet"]
    assert main(["score", str(folder), "--num_samples=30", *found]) == 0
    assert "These are other data than the run's" in capsys.readouterr().out
    table = pandas.read_csv(tmp_path / "one.csv")
    np.testing.assert_allclose(table["log_prob"], oracle.log_prob(x[5:6].double()), rtol=0, atol=1e-9)


@pytest.mark.slow
def test_no_value_and_infinity_are_read_again_by_pandas(x, folder, tmp_path):
    from pyrovae import Adaptive, Annealed

    written = score_run(Run(folder), tmp_path / "a.csv", Annealed(num_temperatures=2, num_chains=2), num_data=3)
    table = pandas.read_csv(written.path)
    assert table["pareto_k"].isna().all()
    assert table["log_prob"].notna().all()
    score_run(Run(folder), tmp_path / "b.csv", Adaptive(max_evaluations=2000), num_data=120)
    assert len(pandas.read_csv(tmp_path / "b.csv")) == 120


def test_codes_are_those_of_the_encoder(oracle, x, folder, tmp_path):
    words = ["encode", str(folder), "--quiet"]
    assert main([*words, f"--out={tmp_path / 'codes.npy'}"]) == 0
    means = encode(oracle.guide, x)["z"].numpy()
    np.testing.assert_array_equal(np.load(tmp_path / "codes.npy"), means)
    assert main([*words, "--scales=true", f"--out={tmp_path / 'codes.csv'}"]) == 0
    table = pandas.read_csv(tmp_path / "codes.csv")
    assert list(table.columns) == ["row", "z0", "z1", "z0_scale", "z1_scale"]
    np.testing.assert_allclose(table[["z0", "z1"]], means, rtol=1e-12)
    scales = oracle.covariance.diagonal().sqrt().expand(230, 2)
    np.testing.assert_allclose(table[["z0_scale", "z1_scale"]], scales, rtol=1e-12)


def test_draws_are_of_the_encoders_distribution(oracle, x, folder, tmp_path):
    encode_run(Run(folder), tmp_path / "draws.npy", num_draws=400, num_data=20)
    draws = torch.from_numpy(np.load(tmp_path / "draws.npy"))
    assert draws.shape == (20, 400, 2)
    assert (draws - encode(oracle.guide, x[:20])["z"][:, None]).mean().abs() < 0.03
    codes = encode_run(Run(folder), tmp_path / "draws.csv", num_draws=3, num_data=20)
    table = pandas.read_csv(tmp_path / "draws.csv")
    assert table["row"].tolist() == [row for row in range(20) for _ in range(3)]
    assert table["draw"].tolist() == [0, 1, 2] * 20
    assert codes.names == ["z0", "z1"]


def test_several_sites_are_named():
    program = HierarchicalVAE((4,), 2, dims=(3,))
    x = torch.ones(5, 4).round()
    draws = sample_posterior(program.guide, x, 2)
    assert {name: z.shape for name, z in draws.items()} == {
        name: (5, 2, *z.shape[1:]) for name, z in posterior_scales(program.guide, x).items()
    }


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"out": "x.txt"}, "out's ending must be one of .csv, .parquet, .npy"),
        ({"num_draws": 2, "scales": True}, "scales must be false where samples are written"),
        ({"split": "test", "num_data": 0}, "num_data must be an integer of at least 1"),
    ],
)
def test_bad_options_are_refused(options, says, folder, tmp_path):
    with pytest.raises(InputError, match=says):
        encode_run(Run(folder), **{"out": tmp_path / "x.csv", **options})


def test_a_file_is_kept_unless_it_may_be_replaced(folder, tmp_path):
    (tmp_path / "x.csv").write_text("mine")
    with pytest.raises(InputError, match=r"out must be a new file unless overwrite is true"):
        score_run(Run(folder), tmp_path / "x.csv", num_data=2)
    assert (tmp_path / "x.csv").read_text() == "mine"
    encode_run(Run(folder), tmp_path / "x.csv", num_data=2, overwrite=True)
    assert len(pandas.read_csv(tmp_path / "x.csv")) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "ending"),
    [(encode_run, "parquet"), (encode_run, "npy"), (partial(score_run, estimator=Importance(3)), "csv")],
)
def test_a_long_table_goes_on_after_a_kill(ending, work, folder, tmp_path, monkeypatch):
    """A table of more than 20 rows is long; its blocks are of 10 rows, and its parts of 2 blocks."""
    work = partial(work, Run(folder), num_data=60)
    for name, value in (("BLOCK", 5), ("BLOCKS", 4), ("_ROWS", 10)):
        monkeypatch.setattr(of_blocks, name, value)
    work(tmp_path / f"straight.{ending}", seed=3)
    batch, read = of_blocks.Blocks.batch, []

    def killed(self, index):
        read.append(index)
        if len(read) == 6:
            raise KeyboardInterrupt
        return batch(self, index)

    monkeypatch.setattr(of_blocks.Blocks, "batch", killed)
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path / f"other.{ending}", seed=3)
    assert not (tmp_path / f"other.{ending}").exists()
    work(tmp_path / f"other.{ending}", seed=3)
    assert read[6].tolist() == list(range(40, 50))  # 5 blocks were done, and 4 of them kept
    assert (tmp_path / f"other.{ending}").read_bytes() == (tmp_path / f"straight.{ending}").read_bytes()
    assert [path.name for path in tmp_path.glob(".*.parts")] == []
    read[:] = [None] * 2
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path / f"third.{ending}", seed=3)
    read.clear()
    monkeypatch.setattr(of_blocks.Blocks, "batch", batch)
    work(tmp_path / f"third.{ending}", seed=4)  # parts of another seed are of no use
    same = (tmp_path / f"third.{ending}").read_bytes() == (tmp_path / f"straight.{ending}").read_bytes()
    assert same == (work.func is encode_run)
