"""The scikit-learn estimator: its own checks, exact integrals of its density, and its use in pipelines and searches."""

import itertools
import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from pyrovae import MLP, Bernoulli, DiagonalNormal, Gaussian, Importance, InputError
from pyrovae.sklearn import VAEDensity

small = partial(MLP, hidden_features=(16,))
quick = partial(
    VAEDensity,
    likelihood=partial(Gaussian, network=small),
    posterior=partial(DiagonalNormal, network=small),
    epochs=3,
    random_state=0,
)


def rows(count=300, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(count, 1))
    return np.hstack([z, 100 * z + rng.normal(size=(count, 1)), rng.normal(size=(count, 1))]) + 5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learns_own_checks_pass():
    results = check_estimator(
        quick(latent_dim=2, epochs=1, compile="off", estimator=Importance(10), random_state=None), on_fail=None
    )
    assert [result["check_name"] for result in results if result["status"] == "failed"] == []
    assert sum(result["status"] == "passed" for result in results) > 40


def test_the_density_integrates_to_one_in_the_units_of_the_data():
    data = rows()[:, 1:2]  # a scale near 100
    vae = quick(latent_dim=1, estimator=Importance(200)).fit(data)
    grid = np.linspace(data.mean() - 1200, data.mean() + 1200, 1001)[:, None]
    mass = np.exp(vae.score_samples(grid)).sum() * (grid[1, 0] - grid[0, 0])
    assert mass == pytest.approx(1, abs=0.02)


def test_the_probabilities_of_all_binary_rows_sum_to_one():
    data = (np.random.default_rng(0).random((200, 4)) < [0.1, 0.5, 0.7, 0.9]).astype(float)
    vae = quick(latent_dim=1, likelihood=partial(Bernoulli, network=small), estimator=Importance(20_000)).fit(data)
    assert vae.scaler_ is None  # columns of 0 and 1 are left as they are
    every = np.array(list(itertools.product([0.0, 1.0], repeat=4)))
    assert np.exp(vae.score_samples(every)).sum() == pytest.approx(1, abs=0.01)


def test_outliers_samples_and_codes():
    data = rows()
    state = torch.get_rng_state()
    vae = quick(epochs=80, contamination=0.05, optimizer=partial(torch.optim.Adam, lr=1e-2)).fit(data)
    assert torch.equal(torch.get_rng_state(), state)
    assert (vae.predict(data) == -1).sum() == 15
    assert vae.predict([[5.0, 5.0, 40.0]]) == [-1]
    np.testing.assert_allclose(vae.decision_function(data), vae.score_samples(data) - vae.offset_)
    drawn = vae.sample(2000, random_state=1)
    np.testing.assert_allclose(drawn.mean(0), data.mean(0), atol=0.3 * data.std(0).max())
    np.testing.assert_allclose(drawn.std(0) / data.std(0), 1, atol=0.35)
    np.testing.assert_array_equal(drawn, vae.sample(2000, random_state=1))
    codes = vae.transform(data)
    assert codes.shape == (300, 2)
    decoded = vae.inverse_transform(codes)
    assert np.corrcoef(decoded[:, 1], data[:, 1])[0, 1] > 0.8
    assert vae.score(data) == pytest.approx(vae.score_samples(data).mean())


def test_the_threshold_of_outliers_is_that_of_sorted_rows_too(monkeypatch):
    monkeypatch.setattr("pyrovae.sklearn._SCORED", 50)
    data = np.sort(rows(300), axis=0)
    vae = quick(contamination=0.1).fit(data)
    assert (vae.predict(data) == -1).mean() == pytest.approx(0.1, abs=0.06)


def test_a_seed_gives_the_same_model_which_is_cloned_and_pickled():
    data = rows(60)
    vae = quick().fit(data)
    for same in (clone(vae).fit(data), pickle.loads(pickle.dumps(vae))):
        np.testing.assert_array_equal(same.score_samples(data), vae.score_samples(data))
    other = quick(random_state=1).fit(data)
    assert (other.score_samples(data) != vae.score_samples(data)).all()


def test_a_pipeline_of_frames_and_a_grid_search():
    frame = pd.DataFrame(rows(80), columns=["a", "b", "c"])
    pipeline = make_pipeline(FunctionTransformer(), quick(latent_dim=2)).set_output(transform="pandas")
    codes = pipeline.fit_transform(frame)
    assert list(codes.columns) == ["vaedensity0", "vaedensity1"]
    with pytest.raises(ValueError, match="feature names"):
        pipeline.named_steps["vaedensity"].fit(frame).score_samples(frame.rename(columns={"a": "other"}))
    search = GridSearchCV(quick(epochs=2), {"latent_dim": [1, 2], "prior": ["StandardNormal", "GaussianMixture"]}, cv=2)
    search.fit(frame)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert type(search.best_estimator_.program_.prior).__name__ == search.best_params_["prior"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"prior": "Standard"}, "prior must be a class, the name of one in pyrovae.priors, or an import path, but 'St"),
        ({"optimizer": "no_such.Adam"}, "optimizer must be a class"),
        ({"contamination": 0.7}, "contamination must be a finite number above 0 and at most 0.5, but 0.7 was given"),
        ({"latent_dim": 0}, "latent_dim must be an integer of at least 1, but 0 was given"),
        ({"epochs": -1}, "epochs must be an integer"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(options, sentence):
    with pytest.raises(InputError, match=sentence):
        quick(**options).fit(rows(20))


def test_components_are_named_by_import_path():
    vae = quick(latent_dim=1, prior="pyrovae.priors.normal.LearnedNormal", optimizer="torch.optim.SGD", epochs=1)
    assert type(vae.fit(rows(20)).program_.prior).__name__ == "LearnedNormal"


def test_codes_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"X must be codes \(n, 2\), but has the shape \(3, 5\)"):
        quick(epochs=1).fit(rows(20)).inverse_transform(np.zeros((3, 5)))


def test_rows_with_missing_values_are_scored_by_their_observed_values_and_imputed():
    frame = pd.DataFrame(rows(200), columns=["a", "b", "c"])
    frame.loc[::4, "b"] = np.nan
    frame.loc[1::4, "c"] = np.nan
    other = frame.assign(b=8 * frame["b"])  # another unit, which a binary float represents exactly
    fitted = [quick(latent_dim=1, estimator=Importance(20), compile="off").fit(X) for X in (frame, other)]
    first, second = (vae.score_samples(X) for vae, X in zip(fitted, (frame, other), strict=True))
    np.testing.assert_allclose(first - second, np.where(frame["b"].isna(), 0.0, np.log(8)), atol=1e-5)
    (filled, std), (of_other, other_std) = (
        vae.impute(X, return_std=True) for vae, X in zip(fitted, (frame, other), strict=True)
    )
    kept = frame.notna().to_numpy()
    assert list(filled.columns) == ["a", "b", "c"]
    np.testing.assert_array_equal(filled.to_numpy()[kept], frame.to_numpy()[kept])
    assert (std.to_numpy()[kept] == 0).all()
    assert (std.to_numpy()[~kept] > 0).all()
    for ours, theirs in ((filled, of_other), (std, other_std)):
        np.testing.assert_allclose(theirs["b"], 8 * ours["b"], rtol=1e-5)
        np.testing.assert_allclose(theirs["c"], ours["c"], rtol=1e-5)
    with pytest.raises(InputError, match="but column 1 has none"):
        quick(latent_dim=1).fit(frame.assign(b=np.nan))
