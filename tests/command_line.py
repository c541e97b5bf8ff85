"""Options of small networks, and what a command that is refused may say and do."""

SMALL = '--posterior.network.hidden_features "[8]" --likelihood.network.hidden_features "[8]"'


# Words that must not reach a user, because they belong to the code.
NOISE = ["Traceback", "Namespace(", "NestedArg", "typing.", "collections.abc", "<class", "Parser key", "Got value"]


NOISE += ["Subtypes", "jsonargparse", "Errors:", "JSONARGPARSE", "object at 0x"]


def contents(folder):
    found = {path: path.read_bytes() if path.is_file() else "folder" for path in folder.rglob("*")}
    # torchvision makes these two before it looks for a network
    return {path: content for path, content in found.items() if path.name not in ("MNIST", "raw")}


def assert_one_sentence(text, says):
    lines = [line for line in text.splitlines() if line.strip() and "batch/s" not in line]
    assert len(lines) == 1, text
    assert lines[0].startswith("pyrovae: error: ")
    sentence = lines[0].removeprefix("pyrovae: error: ")
    assert not sentence.endswith(".")
    assert ". " not in sentence, "that is more than one sentence"
    for part in says:
        assert part in sentence
    for part in NOISE:
        assert part not in sentence
