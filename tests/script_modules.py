"""Scripts as modules."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def module_of(script, monkeypatch):
    """Import a script, such as ``examples/latent_film``, with its own folder on the path, as Python runs it."""
    path = ROOT / "scripts" / f"{script}.py"
    monkeypatch.syspath_prepend(str(path.parent))
    spec = importlib.util.spec_from_file_location(f"script_{script.replace('/', '_')}", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where the types of its options are looked up
    spec.loader.exec_module(module)
    return module
