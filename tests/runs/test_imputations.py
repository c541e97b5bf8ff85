"""A run of data with missing values: evaluations are exact, and imputed files have the exact moments."""

import numpy as np
import pandas
import pytest
import torch
from linear_gaussian import GappyLinearGaussianProgram

import pyrovae
from pyrovae import DataSet, Importance, InputError
from pyrovae.cli import main
from pyrovae.missing import same_values
from pyrovae.runs import Run, evaluate_run, impute_run


@pytest.fixture(scope="module")
def oracle():
    return GappyLinearGaussianProgram((5,), 2)


@pytest.fixture(scope="module")
def x(oracle):
    return oracle.simulate_gaps(130).float()


@pytest.fixture(scope="module")
def folder(oracle, x, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "exact"
    pyrovae.save(folder, oracle, DataSet(x))
    return folder


def test_means_and_draws_in_files(oracle, x, folder, tmp_path, capsys):
    mean, deviation = oracle.conditional(x.double())
    gaps = x.isnan().numpy()
    words = ["impute", str(folder), "--num_samples=50", "--quiet"]
    assert main([*words, f"--out={tmp_path / 'x.npy'}", "--scales=true"]) == 0
    out = capsys.readouterr().out
    assert f"{gaps.sum()} missing values of 130 data imputed" in out
    found = np.load(tmp_path / "x.npy")
    assert found.shape == (130, 2, 5)
    np.testing.assert_array_equal(found[:, 0][~gaps], x.numpy()[~gaps])
    standard = (found[:, 0] - mean.numpy())[gaps] / deviation.numpy()[gaps]
    assert np.abs(standard).max() < 0.5
    assert abs(standard.mean()) < 0.02
    np.testing.assert_allclose(found[:, 1][gaps], deviation.numpy()[gaps], rtol=0.3)
    assert main([*words, f"--out={tmp_path / 'x.csv'}", "--num_imputations=3", "--num_data=10"]) == 0
    table = pandas.read_csv(tmp_path / "x.csv")
    assert list(table.columns) == ["row", "draw", "x0", "x1", "x2", "x3", "x4"]
    assert table["row"].tolist() == [row for row in range(10) for _ in range(3)]
    first = table.to_numpy()[:, 2:].reshape(10, 3, 5)
    np.testing.assert_allclose(
        np.broadcast_to(x[:10, None], first.shape)[~gaps[:10, None].repeat(3, 1)],
        first[~gaps[:10, None].repeat(3, 1)],
        rtol=1e-6,
    )
    impute_run(Run(folder), tmp_path / "images.npy", num_imputations=2, num_data=4)
    assert np.load(tmp_path / "images.npy").shape == (4, 2, 5)


def test_new_data_may_have_other_gaps(oracle, x, folder, tmp_path):
    new = oracle.simulate(3, seed=9).float()
    new[:, 0] = torch.nan
    np.save(tmp_path / "new.npy", new.numpy())
    given = ["--data=ArrayFile", f"--data.path={tmp_path / 'new.npy'}", "--quiet"]
    assert main(["score", str(folder), "--num_samples=30", *given, f"--out={tmp_path / 'scores.csv'}"]) == 0
    found = pandas.read_csv(tmp_path / "scores.csv")["log_prob"]
    np.testing.assert_allclose(found, oracle.log_prob(new.double()), atol=1e-9)
    run = pyrovae.load(folder)
    assert torch.equal(run.impute(new, num_samples=20, progress=False).missing, new.isnan())


def test_evaluation_and_its_comparisons_are_those_of_the_observed_cells(oracle, x, folder):
    found = evaluate_run(Run(folder), Importance(50), num_checked=5)
    test = DataSet(x).test[:]
    assert same_values(found.result.x, test)
    assert found.result.nll == pytest.approx(-oracle.log_prob(test.double()).mean().item())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"scales": True, "num_imputations": 2}, "scales must be false where imputations are written"),
        ({"num_imputations": -1}, "num_imputations must be an integer of at least 0"),
        ({"out": "x.txt"}, "out's ending must be one of .csv, .parquet, .npy"),
    ],
)
def test_bad_options_get_a_sentence(options, sentence, folder, tmp_path):
    with pytest.raises(InputError, match=sentence):
        impute_run(Run(folder), **{"out": tmp_path / "x.npy", **options})
