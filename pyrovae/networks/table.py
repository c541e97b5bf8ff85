"""Encoder network of tables: standardised numbers, and a feature for each category, before another network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyrovae import checks
from pyrovae.columns import KINDS, Schema
from pyrovae.networks.base import NetworkFactory, Shape, make_network
from pyrovae.networks.mlp import MLP

__all__ = ["TableEncoder"]


class TableEncoder(nn.Module):
    """A network of the rows of a table in the table's units, whose columns become features of about unit size.

    Numbers are standardised by the mean and standard deviation of the training rows, positive numbers and counts after
    a logarithm. A column of categories without an order becomes a feature for each category, 1 for its own and 0 for
    others. A missing value becomes zeros, and if training rows have missing values, a column's further feature is 1
    where its value is there.

    Args:
        in_shape: ``(C,)`` or C, for C columns.
        out_shape: number of features or shape of the output.
        network: the network that the features are given to.
        schema: the columns; ``train`` takes those of the data. By default, they are real numbers of mean 0 and standard
            deviation 1.

    Raises:
        ValueError: if the schema has another number of columns.

    Example:
        >>> animal = Column("animal", "categorical", ("cat", "cow", "dog"))
        >>> schema = Schema((Column("age", mean=40.0, std=10.0), animal))
        >>> encoder = TableEncoder((2,), 4, schema=schema)
        >>> encoder.features(torch.tensor([[50.0, 2.0], [float("nan"), 0.0]]))
        tensor([[1., 0., 0., 1.],
                [0., 1., 0., 0.]])
    """

    takes_missing = True
    center: Tensor
    spread: Tensor
    logarithms: Tensor
    numeric: Tensor
    coded: Tensor
    codes: Tensor

    def __init__(
        self, in_shape: Shape, out_shape: Shape, network: NetworkFactory = MLP, schema: Schema | None = None
    ) -> None:
        super().__init__()
        (count,) = checks.shape("in_shape of TableEncoder", in_shape, dims=1)
        self.schema = Schema.of_reals(count) if schema is None else checks.instance("schema", schema, Schema)
        if len(self.schema) != count:
            raise checks.InputError(f"schema must have {count} columns, as in_shape says, but has {len(self.schema)}")
        self._register_columns()
        size = len(self.numeric) + len(self.codes) + (count if self.takes_gaps else 0)
        self.network = make_network(network, size, out_shape)

    def forward(self, x: Tensor) -> Tensor:
        """Map rows ``x`` of shape ``(*, C)`` to ``(*, *out_shape)``."""
        return self.network(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """Return the features of rows ``(*, C)`` that the network is given, ``(*, F)``."""
        missing = x.isnan()
        scaled = (torch.where(missing, self.center, self._logarithms_of(x)) - self.center) / self.spread
        # Linear between codes, so that pseudo-data of a VampPrior, which are not whole, have a gradient.
        near = (1 - (x.index_select(-1, self.coded) - self.codes).abs()).relu()
        parts = [scaled.index_select(-1, self.numeric), near.nan_to_num(0.0)]
        return torch.cat([*parts, (~missing).to(x.dtype)] if self.takes_gaps else parts, -1)

    def _logarithms_of(self, x: Tensor) -> Tensor:
        for kind, chosen in zip(_WITH_LOGARITHM, self.logarithms, strict=True):
            logarithm = KINDS[kind].logarithm
            assert logarithm is not None
            x = torch.where(chosen, logarithm(x), x)
        return x

    def _register_columns(self) -> None:
        columns, dtype = self.schema.columns, torch.get_default_dtype()
        self.takes_gaps = any(column.gaps for column in columns)
        logs = [KINDS[column.kind].logarithm is not None for column in columns]
        centers = [column.log_mean if log else column.mean for column, log in zip(columns, logs, strict=True)]
        spreads = [column.log_std if log else column.std for column, log in zip(columns, logs, strict=True)]
        nominal = [column.levels if column.kind == "categorical" else 0 for column in columns]
        self.register_buffer("center", torch.tensor(centers, dtype=dtype))
        self.register_buffer("spread", torch.tensor(spreads, dtype=dtype))
        chosen = [[column.kind == kind for column in columns] for kind in _WITH_LOGARITHM]
        numeric = [i for i, levels in enumerate(nominal) if levels == 0]
        coded = [i for i, levels in enumerate(nominal) for _ in range(levels)]
        codes = [float(code) for levels in nominal for code in range(levels)]
        self.register_buffer("logarithms", torch.tensor(chosen), persistent=False)
        self.register_buffer("numeric", torch.tensor(numeric, dtype=torch.int64), persistent=False)
        self.register_buffer("coded", torch.tensor(coded, dtype=torch.int64), persistent=False)
        self.register_buffer("codes", torch.tensor(codes, dtype=dtype), persistent=False)


_WITH_LOGARITHM = [name for name, kind in KINDS.items() if kind.logarithm is not None]
