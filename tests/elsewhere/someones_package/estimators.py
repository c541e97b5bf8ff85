"""An estimator of log p(x) that pyrovae does not have."""

from pyrovae import Estimator, LogMarginal


class PriorSampling(Estimator):
    """The mean of p(x|z) over samples of the prior.

    Args:
        num_samples: number of samples of each datum.
    """

    must_cover = False

    def __init__(self, num_samples: int = 1000):
        self.num_samples = num_samples

    def estimate(self, programs, *, num_draws=0, chunk_size=2000):
        with programs.evaluating():
            _, log_likelihood, _ = programs.sample_prior(self.num_samples)
        return LogMarginal.from_log_weights(log_likelihood, programs.arguments[0], method=self.method)
