"""A graph rewritten for the compiler computes the same."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from pyrovae.compilation import fx_passes
from pyrovae.compilation.graph_capture import Recording


@pytest.mark.parametrize("onednn", [False, True])
def test_operations_that_follow_one_another_are_all_replaced(onednn, monkeypatch):
    monkeypatch.setattr(fx_passes, "prefers_onednn", lambda x, weight: onednn)
    first, second, x = torch.randn(5, 8), torch.randn(8, 3), (torch.rand(4, 3) > 0.5).float()

    def loss(z):
        return (cross_entropy(torch.tanh(torch.tanh(z @ first)) @ second, x, reduction="none"),)

    z = torch.randn(4, 5)
    recording = Recording(loss, (z,))
    fx_passes.for_inductor(recording._graph.graph)
    recording._graph.recompile()
    torch.testing.assert_close(recording(z), loss(z), rtol=1e-5, atol=1e-6)
    left = {str(node.target) for node in recording._graph.graph.nodes}
    assert not {"aten.tanh.default", "aten.binary_cross_entropy_with_logits.default"} & left
    assert ("aten.mm.default" not in left) == onednn
