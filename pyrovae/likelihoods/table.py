"""Likelihood of the rows of a table, composed of a likelihood for each column."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import constraints

from pyrovae import checks
from pyrovae.columns import KINDS, Column, Schema
from pyrovae.distributions import ColumnGroup, ColumnSupport, Columnwise
from pyrovae.likelihoods.base import Likelihood, LikelihoodFactory, caveat_of
from pyrovae.likelihoods.bernoulli import Bernoulli
from pyrovae.likelihoods.counts import NegativeBinomial
from pyrovae.likelihoods.discretized import Categorical
from pyrovae.likelihoods.gaussian import Gaussian
from pyrovae.likelihoods.log_normal import LogNormal
from pyrovae.likelihoods.ordinal import Ordinal
from pyrovae.missing import draw_missing
from pyrovae.networks import MLP, NetworkFactory, Shape, make_network

__all__ = ["TableLikelihood"]

_FAMILIES: dict[str, type[Likelihood]] = {
    "real": Gaussian,
    "positive": LogNormal,
    "count": NegativeBinomial,
    "binary": Bernoulli,
    "categorical": Categorical,
    "ordinal": Ordinal,
}


class TableLikelihood(Likelihood):
    r"""A likelihood for each column of a table, given features of z: :math:`p(x|z) = \prod_j p_j(x_j|h(z))`.

    Each column has one of pyrovae's likelihoods, or your own, by its kind: ``Gaussian`` for real columns, ``LogNormal``
    for positive ones, ``NegativeBinomial`` for counts, ``Bernoulli``, ``Categorical`` and ``Ordinal`` for categories.
    Its parameters are a linear map of the features h(z). x is in the units of the table: a density of a column with
    standard deviation s is that of the standardised number, divided by s. So :math:`\log p(x)` is that of the table, in
    nats, however the columns are scaled. It mixes densities, which depend on units, with probabilities, which do not.

    The mean of a column of categories without an order is its most probable category.

    Args:
        data_shape: ``(C,)`` for C columns.
        latent_dim: number D of latent dimensions.
        network: decoder h, from D features to the features that all columns share.
        columns: likelihoods of columns by name, in place of those of their kinds: classes, ``functools.partial`` of
            classes, or their names.
        features: number of features h(z).
        schema: the columns; ``train`` takes those of the data. By default, they are real numbers of mean 0 and standard
            deviation 1.

    Raises:
        ValueError: if there is no such column, or a likelihood does not suit its column.

    Example:
        >>> schema = Schema((Column("age", mean=40.0, std=10.0), Column("sex", "binary", ("female", "male"))))
        >>> likelihood = TableLikelihood((2,), 3, columns={"age": StudentT}, schema=schema)
        >>> likelihood(torch.zeros(5, 3)).log_prob(torch.tensor([[31.0, 1.0]])).shape
        torch.Size([5])
    """

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        network: NetworkFactory = MLP,
        columns: dict[str, LikelihoodFactory] | None = None,
        features: int = 128,
        schema: Schema | None = None,
    ) -> None:
        super().__init__(data_shape, latent_dim)
        (count,) = checks.shape("data_shape of TableLikelihood", self.data_shape, dims=1)
        self.schema = Schema.of_reals(count) if schema is None else checks.instance("schema", schema, Schema)
        if len(self.schema) != count:
            raise checks.InputError(f"schema must have {count} columns, as data_shape says, but has {len(self.schema)}")
        self.features = checks.integer("features", features)
        self.network = make_network(network, self.latent_dim, self.features)
        families = _families(self.schema, columns or {})
        groups = [_Group(self.schema, positions, family, self.features) for positions, family in families]
        self.discrete = all(group.likelihood.discrete for group in groups)
        self._groups = nn.ModuleList(groups)

    def forward(self, z: Tensor) -> TorchDistributionMixin:
        """Return p(x|z) for ``z`` of shape ``(*, D)``."""
        h = self.network(z)  # (*, features)
        return Columnwise([group(h) for group in self.groups], tuple(z.shape[:-1])).to_event(1)

    @property
    def groups(self) -> list[_Group]:
        """The columns, in groups that have likelihoods of one family."""
        return [group for group in self._groups if isinstance(group, _Group)]

    @property
    def support(self) -> constraints.Constraint:  # type: ignore[override] # that of the columns
        """The support of each column."""
        with torch.no_grad():
            return ColumnSupport(self(torch.zeros(1, self.latent_dim)).base_dist.groups)

    def check(self, x: Tensor) -> None:
        """Raise unless every value of ``x``, of shape ``(*, C)``, lies in the support of its column.

        Raises:
            ValueError: naming the column, its likelihood, and a value.
        """
        for group in self.groups:
            group.check(x)

    def initialize(self, x: Tensor) -> None:
        """Initialize the likelihood of each column from training rows ``(N, C)``."""
        for group in self.groups:
            group.initialize(x)

    def caveat(self, kind: str) -> str | None:
        """Return a warning if a column has no likelihood of its own kind, else None."""
        if kind != "table":
            return caveat_of(self.discrete, kind)
        names = [name for group in self.groups for name in group.densities_of_counts]
        if not names:
            return None
        return (
            f"Column {names[0]!r} holds integers, and its likelihood is a density, which has no bound there: "
            "choose one of counts to publish it."
        )

    def extra_repr(self) -> str:
        """Show the shapes and options."""
        return f"{super().extra_repr()}, features={self.features}"


class _Linear(nn.Module):
    """A linear map, as the network of the likelihood of columns."""

    def __init__(self, in_shape: Shape, out_shape: Shape) -> None:
        super().__init__()
        self.out_shape = checks.shape("out_shape", out_shape)
        self.layer = nn.Linear(math.prod(checks.shape("in_shape", in_shape)), math.prod(self.out_shape))

    def forward(self, h: Tensor) -> Tensor:
        """Map ``h`` of shape ``(*, H)`` to ``(*, *out_shape)``."""
        return self.layer(h).unflatten(-1, self.out_shape)


class _Group(nn.Module):
    """Columns that have likelihoods of one family, as one likelihood with components that share nothing but h."""

    columns: Tensor
    loc: Tensor
    scale: Tensor

    def __init__(self, schema: Schema, positions: list[int], family: LikelihoodFactory, features: int) -> None:
        super().__init__()
        self.members = [schema.columns[i] for i in positions]
        self.likelihood = checks.make(
            f"likelihood of column {self.members[0].name!r}",
            family,
            Likelihood,
            (len(positions),),
            features,
            like="Gaussian",
        )
        self._check_family()
        loc, scale = zip(*(_units(self.likelihood, column) for column in self.members), strict=True)
        self.register_buffer("columns", torch.tensor(positions), persistent=False)
        self.register_buffer("loc", torch.tensor(loc, dtype=torch.get_default_dtype()))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.get_default_dtype()))

    def forward(self, h: Tensor) -> ColumnGroup:
        """Return the distribution of the columns given features ``(*, H)``."""
        fn = self.likelihood(h).base_dist
        nominal = self.members[0].kind == "categorical"
        return ColumnGroup(self.columns, fn, self.loc, self.scale, not self.likelihood.discrete, nominal)

    def check(self, x: Tensor) -> None:
        """Raise unless the columns' values lie in the support, naming one that does not."""
        values = x[..., self.columns]
        inside = self.likelihood.support.check((values - self.loc) / self.scale) | values.isnan()
        for i, column in enumerate(self.members):
            if not bool(inside[..., i].all()):
                found = values[..., i][~inside[..., i]][0].item()
                accepted = f"lie in {checks.constraint_name(self.likelihood.support)}"
                if column.kind == "count" and self.likelihood.levels:
                    accepted = f"hold integers from 0 to {self.likelihood.levels - 1}, the levels less 1,"
                raise checks.InputError(
                    f"column {column.name!r} must {accepted} for {type(self.likelihood).__name__}, but holds {found:g}"
                )

    def initialize(self, x: Tensor) -> None:
        """Initialize the likelihood from training rows ``(N, C)``; a missing value gets a known one of its column."""
        values = draw_missing(x[:, self.columns])
        self.likelihood.initialize((values - self.loc) / self.scale)

    @property
    def densities_of_counts(self) -> list[str]:
        """Names of columns of counts that have a density."""
        return [column.name for column in self.members if column.kind == "count" and not self.likelihood.discrete]

    def _check_family(self) -> None:
        made, column = self.likelihood, self.members[0]
        name = type(made).__name__
        fn = made(torch.zeros(1, made.latent_dim))
        base = getattr(fn, "base_dist", None)
        if base is None or base.batch_shape != (1, len(self.members)):
            raise checks.InputError(
                f"likelihood of column {column.name!r} must have a distribution of each column by itself, which {name} "
                "with its options has not"
            )
        if column.levels and not _has_categories(made, base, column):
            raise checks.InputError(
                f"likelihood of column {column.name!r} must be one of its {column.levels} categories, such as "
                f"Categorical or Ordinal, but {name} was given"
            )


def _families(schema: Schema, given: Mapping[str, LikelihoodFactory]) -> list[tuple[list[int], LikelihoodFactory]]:
    """Return groups of columns and their families; a column whose likelihood is given is a group by itself."""
    unknown = sorted(given.keys() - set(schema.names))
    if unknown:
        raise checks.InputError(f"columns must be of the table, {', '.join(schema.names[:20])}, but has {unknown[0]!r}")
    together: dict[Any, list[int]] = {}
    alone: list[tuple[list[int], LikelihoodFactory]] = []
    for i, column in enumerate(schema.columns):
        family = given.get(column.name)
        if family is None:
            together.setdefault((column.kind, column.levels), []).append(i)
        else:
            chosen = _named(column.name, family) if isinstance(family, str) else family
            alone.append(([i], _completed(chosen, column, {})))
    grouped = [
        (positions, _completed(_FAMILIES[kind], schema.columns[positions[0]], {"scale": "pixel"}))
        for (kind, _), positions in together.items()
    ]
    return [*grouped, *alone]


def _named(column: str, name: str) -> type[Likelihood]:
    from pyrovae import likelihoods

    names = [name for name in likelihoods.__all__ if isinstance(getattr(likelihoods, name), type)]
    return getattr(likelihoods, checks.choice(f"likelihood of column {column!r}", name, names))


def _completed(family: LikelihoodFactory, column: Column, own: dict[str, Any]) -> LikelihoodFactory:
    """Return a factory with options of its own, the column's number of categories, and a linear map as network."""
    kind = checks.class_of(family)
    options = inspect.signature(kind).parameters if kind is not None else {}
    given = family.keywords if isinstance(family, partial) else {}
    if not _is_default(options, given.get("network")):
        raise checks.InputError(
            f"likelihood of column {column.name!r} must be given without a network: its parameters are a linear map of "
            "the features that all columns share"
        )
    own = {"network": _Linear, **own}
    if given.get("levels") is None and column.levels:
        own["levels"] = column.levels
    return partial(family, **{name: value for name, value in own.items() if name in options})


def _is_default(options: Mapping[str, inspect.Parameter], network: Any) -> bool:
    """Tell whether a network is the default of a class, with its default options, as a parser fills them in."""
    if network is None or "network" not in options:
        return True
    kind = checks.class_of(network)
    if kind is None or kind is not checks.class_of(options["network"].default):
        return False
    defaults = inspect.signature(kind).parameters
    given = network.keywords if isinstance(network, partial) else {}
    return all(_plain(value) == _plain(defaults[name].default) for name, value in given.items())


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else checks.class_of(value) or value


def _has_categories(likelihood: Likelihood, fn: Any, column: Column) -> bool:
    """Tell whether a likelihood, of distribution ``fn``, has the categories of a column."""
    nominal = column.kind == "categorical"  # whose codes have no order: the most probable one stands for their mean
    if isinstance(likelihood, Bernoulli):
        return column.levels == 2 and not nominal
    return likelihood.levels == column.levels and (not nominal or isinstance(fn, torch.distributions.Categorical))


def _units(likelihood: Likelihood, column: Column) -> tuple[float, float]:
    """Return location and scale of a column, in which its likelihood is that of numbers of about unit size."""
    levels = column.levels or (likelihood.levels if column.kind == "count" else None)
    if levels:  # of codes or counts 0, 1, ...
        return 0.0, float(levels - 1)
    if likelihood.discrete:
        return 0.0, 1.0
    if checks.same_constraint(likelihood.support, constraints.real):
        return column.mean, column.std
    if checks.same_constraint(likelihood.support, constraints.positive) and KINDS[column.kind].logarithm is not None:
        return 0.0, float(torch.tensor(column.log_mean, dtype=torch.float64).exp())
    return 0.0, 1.0
