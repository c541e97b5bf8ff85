"""Whether real data are as hard as simulated ones."""

import pytest
import torch
from linear_gaussian import LinearGaussian

from pyrovae import Annealed, Importance, log_marginal
from pyrovae.evaluation.likelihood.resemblance import resemblance


class Unsure(LinearGaussian):
    """A guide that is the worse, the further a datum is from the mean of all."""

    def guide(self, x):
        self.shift = 1.5 * (x - self.b).norm(dim=-1, keepdim=True) / 5
        return super().guide(x)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [Importance(200), Annealed(5)], ids=["importance", "annealed"])
def test_data_that_are_harder_or_easier_are_found(estimator):
    program = Unsure(5, 20, guide="mean-field")
    alike, other = program.simulate(60, seed=1), program.simulate(60, seed=2)
    torch.manual_seed(0)
    simulated, same, harder, easier = (
        log_marginal(program.model, program.guide, x, estimator)
        for x in (other, alike, program.b + 2 * (alike - program.b), program.b + 0.3 * (alike - program.b))
    )
    assert not resemblance(same, simulated).differs
    assert "no difference in difficulty" in resemblance(same, simulated).sentence
    assert "The real data are harder" in resemblance(harder, simulated).sentence
    assert "The real data are easier" in resemblance(easier, simulated).sentence
    assert resemblance(harder, simulated).summary()["p_value"] < 0.01


def test_too_few_data_tell_nothing():
    program = LinearGaussian(2, 5, guide="mean-field")
    ml = log_marginal(program.model, program.guide, program.simulate(5), Importance(50))
    assert resemblance(ml, ml) is None
