"""VAEs of rows with missing values, for ``tables.py``: many trained side by side, the best chosen by validation.

VAEs of the same kind, for the patterns and seeds of a table, are trained in one loop with stacked parameters: AdamW on
the importance-weighted bound of log p(x_obs), and the weights of each one's best validation bound kept. This is what
``fit`` does with ``objective=IWAE`` and ``restore_best=True``, but faster for networks that are so small.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tables_contenders import Scores, best_mixture
from tables_data import Rows, Task
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

import pyrovae as pv
from pyrovae.missing import fill_missing

__all__ = ["Candidate", "Outcome", "Training", "candidates", "judge"]

Floats = NDArray[np.float64]
NUM_SAMPLES = 1000  # of log p(x_obs) of test rows
NUM_DRAWS = 200  # of which a mean is imputed
NUM_IMPUTATIONS = 39  # of which the second and the last but one are the ends of a 90 % interval


@dataclass(frozen=True)
class Candidate:
    """A kind of VAE.

    Attributes:
        latent_dim: number of latents.
        hidden: width of the decoder's hidden layer, beside a linear map; 0 for the linear map alone.
        components: number of components of the prior.
        likelihood: makes the likelihood from the network and the schema of the rows.
        grey: True for rows of grey levels, which have probabilities.
    """

    latent_dim: int
    hidden: int
    components: int
    likelihood: Callable[[Any, Task], Any]
    name: str
    grey: bool = False

    def make(self, task: Task) -> pv.VAE:
        """Return an untrained VAE, initialized from the training rows."""
        x = self.rows(task, "train")
        shape = (x.shape[1],)
        hidden = partial(pv.MLP, hidden_features=(self.hidden,) if self.hidden else (), activation=nn.Tanh)
        decoder = partial(pv.WithLinear, network=hidden) if self.hidden else hidden
        network = partial(pv.MLP, hidden_features=(64,), activation=nn.Tanh)
        encoder = partial(pv.WithLinear, network=network)
        wrapped = partial(pv.TableEncoder, network=encoder, schema=task.schema) if self.is_table(task) else None
        vae = pv.VAE(
            pv.GaussianMixture(self.latent_dim, self.components),
            self.likelihood(decoder, task)(shape, self.latent_dim),
            pv.DiagonalNormal(shape, self.latent_dim, wrapped or partial(pv.WithMask, network=encoder)),
        )
        vae.initialize(x)
        return vae

    def is_table(self, task: Task) -> bool:
        """Tell whether some columns are categories."""
        return bool(task.table.coded.any())

    def rows(self, task: Task, part: str) -> Tensor:
        """Return the rows of a part as the VAE takes them."""
        return torch.from_numpy(task.grey(part) if self.grey else task.codes(part)).float()

    def log_units(self, task: Task, part: str) -> Floats:
        """Return what is added to its log p for that in the table's units, ``(n,)``."""
        if self.grey:
            return np.zeros(len(task.parts[part]))
        return task.log_units(part, scaled=~task.table.coded)


def candidates(table: Rows) -> list[Candidate]:
    """Return the kinds of VAE among which validation chooses."""
    columns = len(table.kinds)
    few, many = max(1, round(columns / 6)), max(2, min(round(columns / 2), 15))
    found = []
    for latent_dim, hidden, components in ((many, 0, 5), (few, 32, 5), (many, 32, 5)):
        for name, likelihood in _likelihoods(table).items():
            words = f"{name}, {latent_dim} latents, {hidden} hidden, {components} components"
            found.append(Candidate(latent_dim, hidden, components, likelihood, words, name == "discretized"))
    return found


def _likelihoods(table: Rows) -> dict[str, Callable[[Any, Task], Any]]:
    if table.grey_levels:
        return {
            "discretized": lambda network, task: partial(
                pv.DiscretizedLogistic, network=network, levels=table.grey_levels, scale="network"
            )
        }
    if table.coded.any():
        return {
            "of each kind": lambda network, task: partial(
                pv.TableLikelihood, network=network, schema=task.schema, features=32
            )
        }
    return {
        "Gaussian": lambda network, task: partial(pv.Gaussian, network=network, scale="pixel", min_scale=1e-2),
        "Student's t, scale of z": lambda network, task: partial(
            pv.StudentT, network=network, scale="network", min_scale=1e-2
        ),
    }


class Training(NamedTuple):
    """How VAEs are trained."""

    steps: int = 1000
    batch_size: int = 64
    lr: float = 1e-2
    weight_decay: float = 1e-2
    num_particles: int = 5
    every: int = 50  # steps between validations


class Stack:
    """M VAEs of one kind side by side, and rows of M tables."""

    def __init__(self, candidate: Candidate, tasks: list[Task], seed: int) -> None:
        torch.manual_seed(seed)
        self.candidate, self.tasks = candidate, tasks
        self.vaes = [candidate.make(task) for task in tasks]
        self.member = self.vaes[0]
        self.parts = ("prior", "likelihood", "posterior")
        self.parameters, self.buffers = zip(
            *(stack_module_state([getattr(vae, part) for vae in self.vaes]) for part in self.parts), strict=True
        )

    def rows(self, part: str) -> Tensor:
        """Return rows of a part of each table, ``(M, n, C)``."""
        return torch.stack([self.candidate.rows(task, part) for task in self.tasks])

    def bound(self, x: Tensor, num_particles: int) -> Tensor:
        """Return the importance-weighted bound of log p(x_obs), ``(M, B)``, of rows ``(M, B, C)``."""
        noise = torch.randn(len(x), num_particles, x.shape[1], self.candidate.latent_dim)
        return vmap(self._bound)(self.parameters, self.buffers, x, noise)

    def _bound(self, parameters: Any, buffers: Any, x: Tensor, noise: Tensor) -> Tensor:
        prior, likelihood, posterior = (
            partial(functional_call, getattr(self.member, part), {**own, **fixed})
            for part, own, fixed in zip(self.parts, parameters, buffers, strict=True)
        )
        q = posterior((x,)).base_dist
        z = q.loc + q.scale * noise  # (K, B, D)
        seen = ~x.isnan()
        fn = likelihood((z,)).base_dist
        log_likelihood = torch.where(seen, fn.log_prob(fill_missing(x)), 0.0).sum(-1)
        log_weight = log_likelihood + prior(()).log_prob(z) - q.log_prob(z).sum(-1)
        return log_weight.logsumexp(0) - math.log(len(noise))

    @torch.no_grad()
    def log_prob(self, part: str, num_samples: int = 500) -> Tensor:
        """Return log p(x_obs) of the rows of a part by importance sampling, ``(M, n)``."""
        x, size = self.rows(part), 50
        parts = torch.stack([self.bound(x, size) for _ in range(num_samples // size)])
        return parts.logsumexp(0) - math.log(len(parts))

    def train(self, how: Training) -> None:
        """Train all VAEs, and give each the weights of its best validation bound."""
        x, count = self.rows("train"), len(self.tasks)
        leaves = [value for of_part in self.parameters for value in of_part.values()]
        optimizer = torch.optim.AdamW(leaves, how.lr, weight_decay=how.weight_decay)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, how.steps)
        best, kept = torch.full((count,), -math.inf), [leaf.detach().clone() for leaf in leaves]
        for step in range(1, how.steps + 1):
            chosen = torch.randint(x.shape[1], (count, how.batch_size))
            batch = x.gather(1, chosen[..., None].expand(-1, -1, x.shape[2]))
            loss = -self.bound(batch, how.num_particles).mean(1).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            if step % how.every == 0:
                now = self.log_prob("validation", 50).mean(1)
                better = now > best
                best = torch.where(better, now, best)
                for leaf, copy in zip(leaves, kept, strict=True):
                    copy[better] = leaf.detach()[better]
        with torch.no_grad():
            for leaf, copy in zip(leaves, kept, strict=True):
                leaf.copy_(copy)
        self._unstack()

    @torch.no_grad()
    def _unstack(self) -> None:
        for part, of_part in zip(self.parts, self.parameters, strict=True):
            for i, vae in enumerate(self.vaes):
                own = dict(getattr(vae, part).named_parameters())
                for name, value in of_part.items():
                    own[name].copy_(value[i])
        for vae in self.vaes:
            vae.eval()


class Outcome(NamedTuple):
    """What a VAE, or an equal mixture of several, says of the test rows of a task.

    Attributes:
        log_prob: log p(x_obs) in the table's units, ``(n,)``, in nats.
        error: standard error of its mean by Monte Carlo, in nats.
        reliable: share of the rows whose weights have a k̂ that is low enough, the least of the mixture.
        filled: means of the missing values, as standardised rows, codes in columns of categories, ``(n, C)``.
        draws: imputations, ``(39, n, C)``.
        names: the kinds that were chosen.
    """

    log_prob: Floats
    error: float
    reliable: float
    filled: Floats
    draws: Floats
    names: list[str]


def judge(table: Rows, tasks: list[Task], how: Training, seed: int) -> Iterator[Outcome]:
    """Train VAEs of all kinds for each task, choose by validation, and yield what the chosen say of the test rows."""
    stacks, scores = [], []
    for candidate in candidates(table):
        stack = Stack(candidate, tasks, seed)
        stack.train(how)
        log_prob = stack.log_prob("validation").double().numpy()
        stacks.append(stack)
        scores.append(
            [row + candidate.log_units(task, "validation") for row, task in zip(log_prob, tasks, strict=True)]
        )
    for i, task in enumerate(tasks):
        of_task = [Scores(rows[i], rows[i], str(j)) for j, rows in enumerate(scores)]
        chosen = [stacks[int(score.name)] for score in best_mixture(of_task)]
        yield _outcome([(stack.candidate, stack.vaes[i]) for stack in chosen], task, seed)


def _outcome(chosen: list[tuple[Candidate, pv.VAE]], task: Task, seed: int) -> Outcome:
    """Return what an equal mixture of VAEs says of the test rows."""
    torch.manual_seed(seed)
    log_probs, variances, draws, means, reliable = [], [], [], [], []
    for candidate, vae in chosen:
        x = candidate.rows(task, "test")
        found = pv.impute(
            vae.model,
            vae.guide,
            x,
            num_samples=NUM_SAMPLES,
            num_imputations=NUM_IMPUTATIONS,
            num_draws=NUM_DRAWS,
            progress=False,
        )
        log_probs.append(found.evidence.log_prob.double().numpy() + candidate.log_units(task, "test"))
        variances.append(found.evidence.standard_error.double().numpy() ** 2)
        reliable.append(float(found.evidence.reliable.float().mean()))
        means.append(_standardised(found.mean, candidate, task, 0.5))
        noise = np.random.default_rng(seed).random(found.imputations.shape)  # of a step, as the table's
        draws.append(_standardised(found.imputations, candidate, task, noise))
    joint = np.stack(log_probs)  # (M, n)
    log_prob = np.logaddexp.reduce(joint) - math.log(len(joint))
    share = np.exp(joint - log_prob) / len(joint)  # (M, n)
    error = math.sqrt((share**2 * np.stack(variances)).sum()) / len(log_prob)
    member = (np.random.default_rng(seed).random((NUM_IMPUTATIONS, len(log_prob))) > share.cumsum(0)[:, None]).sum(0)
    member = member.clip(max=len(joint) - 1)  # (39, n)
    drawn = np.stack(draws)[member, np.arange(NUM_IMPUTATIONS)[:, None], np.arange(len(log_prob))]
    filled = (share[..., None] * np.stack(means)).sum(0)
    best = np.stack(means)[share.argmax(0), np.arange(len(log_prob))]
    filled = np.where(task.table.nominal, best, filled)
    return Outcome(log_prob, error, min(reliable), filled, drawn, [candidate.name for candidate, _ in chosen])


def _standardised(x: Tensor, candidate: Candidate, task: Task, noise: Floats | float) -> Floats:
    """Return rows of a VAE as standardised numbers, and codes of categories without an order."""
    values = x.double().numpy()
    table = task.table
    if candidate.grey:
        values = values * (table.grey_levels - 1)
    whole = table.coded | (table.grey_levels > 0)
    scaled = np.where(whole, (values + noise - task.mean) / task.std, values)
    return np.where(table.nominal, values.round(), scaled)
