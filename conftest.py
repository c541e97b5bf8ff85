"""Every test leaves global state as it found it: parameter store, validation, default dtype, grad mode."""

import pyro
import pytest
import torch
from _pytest.doctest import DoctestItem
from pyro.infer.util import is_validation_enabled


def pytest_collection_modifyitems(items):
    """Begin with the pages, which take longest, so that none is waited for; mark estimators' examples, which sample."""
    items.sort(key=lambda item: "test_docs" not in item.nodeid)
    for item in items:
        if isinstance(item, DoctestItem) and item.name.startswith("pyrovae.evaluation."):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _no_global_state_leaks(request):
    torch.manual_seed(0)
    pyro.clear_param_store()
    before = torch.get_default_dtype(), is_validation_enabled(), torch.is_grad_enabled()
    yield
    if isinstance(request.node, DoctestItem):
        pyro.clear_param_store()  # examples of single steps register their modules
    assert (torch.get_default_dtype(), is_validation_enabled(), torch.is_grad_enabled()) == before
    assert list(pyro.get_param_store().keys()) == [] or pytest.fail("the test left parameters in Pyro's store")


@pytest.fixture(autouse=True, scope="session")
def _own_state_folder(tmp_path_factory):
    """Keep the key of this machine's runs out of the user's home, in commands that are started too."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _doctest_names(doctest_namespace):
    import pyrovae
    from pyrovae import (
        checks,
        compilation,
        distributions,
        evaluation,
        flows,
        handlers,
        likelihoods,
        matmul,
        networks,
        objectives,
        optimizers,
        posteriors,
        prediction,
        priors,
        runs,
        sharing,
        training,
    )
    from pyrovae.data import binarization, dataset

    for module in (
        checks,
        distributions,
        compilation,
        evaluation,
        prediction,
        flows,
        handlers,
        networks,
        likelihoods,
        objectives,
        optimizers,
        posteriors,
        priors,
        matmul,
        runs,
        sharing,
        training,
        dataset,
        binarization,
    ):
        doctest_namespace.update({name: getattr(module, name) for name in module.__all__})
    doctest_namespace.update({name: getattr(pyrovae, name) for name in pyrovae.__all__}, torch=torch)
    doctest_namespace.update(pyro=pyro, dist=pyro.distributions)
