"""What Inductor compiled is kept on disk for a later process."""

import pytest
import torch
from torch._dynamo.utils import counters
from torch._inductor.utils import fresh_inductor_cache

from pyrovae.compilation.graph_capture import Recording


@pytest.mark.slow
def test_what_was_compiled_is_found_again():
    weight = torch.randn(5, 5)

    def function(x):
        return ((x @ weight).tanh().sum(),)

    x = torch.randn(3, 5)
    found = []
    with fresh_inductor_cache():
        for _ in range(2):
            counters.clear()
            torch._dynamo.reset()
            recording = Recording(function, (x,))
            recording.compile(x)
            torch.testing.assert_close(recording(x, compiled=True), function(x))
            found.append((counters["inductor"]["fxgraph_cache_miss"], counters["inductor"]["fxgraph_cache_hit"]))
    assert found == [(1, 0), (0, 1)]
