"""Scores of anomalies, and how well they tell two sets apart."""

import pytest
import torch
from linear_gaussian import LinearGaussian
from sklearn.metrics import roc_auc_score

from pyrovae import InputError
from pyrovae.evaluation import anomaly_scores, separation


@pytest.mark.slow
def test_scores_are_those_of_the_exact_answers():
    oracle = LinearGaussian(3, 6, guide="mean-field", shift=0.5)
    x = oracle.simulate(30)
    scores = anomaly_scores(oracle.model, oracle.guide, x, 500)
    torch.testing.assert_close(scores["-log p(x)"], -oracle.log_prob(x), rtol=0, atol=0.3)
    posterior = (x - oracle.b) @ oracle.W @ oracle.covariance / oracle.scale**2
    code = posterior + oracle.shift * oracle.mean_field
    error = (x - code @ oracle.W.T - oracle.b).square().sum(1)
    torch.testing.assert_close(scores["reconstruction error"], error)
    precision = torch.linalg.inv(oracle.covariance)
    shift = oracle.shift * oracle.mean_field
    regret = 0.5 * shift @ precision @ shift  # what a shift of a normal's mean costs
    torch.testing.assert_close(scores["likelihood regret"].mean(), regret, rtol=0.1, atol=0.0)
    assert (scores["-ELBO"] > scores["-log p(x)"]).all()


def test_the_area_is_that_of_scikit_learn_with_ties():
    normal, anomalous = torch.randint(0, 10, (60,)).float(), torch.randint(3, 13, (40,)).float()
    found = separation(normal, anomalous)
    labels = torch.arange(100) >= 60
    assert found.auroc == pytest.approx(roc_auc_score(labels, torch.cat((normal, anomalous))), abs=1e-12)
    assert torch.trapezoid(found.true_positive_rate, found.false_positive_rate).item() == pytest.approx(
        found.auroc, abs=1e-12
    )
    assert 0 < found.low < found.auroc < found.high < 1


@pytest.mark.slow
def test_the_interval_holds_the_true_area_as_often_as_it_says():
    true = 0.5 * (1 + torch.erf(torch.tensor(0.5))).item()  # P(N(1, 1) > N(0, 1)) is Phi(1 / sqrt(2))
    sets = [separation(torch.randn(80), 1 + torch.randn(50)) for _ in range(400)]
    held = sum(found.low <= true <= found.high for found in sets) / len(sets)
    assert 0.92 < held < 0.98


def test_sets_that_do_not_overlap():
    found = separation(torch.arange(5.0), torch.arange(5.0, 9.0))
    assert (found.auroc, found.low, found.high) == (1.0, 1.0, 1.0)
    with pytest.raises(InputError, match="normal must hold"):
        separation(torch.zeros(1), torch.zeros(3))
    with pytest.raises(InputError, match="anomalous must hold"):
        separation(torch.zeros(3), torch.tensor([0.0, torch.nan]))
