"""All defaults of a command are those that jsonargparse finds, in fewer steps."""

from unittest import mock

import pytest
from jsonargparse import ArgumentParser

from pyrovae.cli import commands
from pyrovae.parsing import Parser

PLAIN = ArgumentParser.parse_object


class Shift:
    def __init__(self, by: bool | int | float = 1) -> None:
        self.by = by


def completed(options, parse):
    """Return all options of ``train``, and in how many calls jsonargparse parsed them."""
    parser = Parser()
    replaced = {"prior", "likelihood", "posterior"} if options else set()
    parser.add_function_arguments(commands.train, skip={"config", *replaced})
    parser.set_defaults(options)
    with mock.patch.object(ArgumentParser, "parse_object", autospec=True, side_effect=PLAIN) as calls:
        return parser.dump(parse(parser)), calls.call_count


@pytest.mark.slow
@pytest.mark.parametrize(("program", "share"), [(None, 1), ("SphericalVAE", 0.5)])
def test_the_defaults_of_classes_within_classes_are_those_of_jsonargparse(program, share):
    options = {} if program is None else {"program": {"class_path": program, "init_args": {}}}
    text, few = completed(options, Parser.parse_defaults)
    expected, many = completed(options, lambda parser: parser.parse_object({}))
    assert text == expected
    assert "hidden_features" in text
    assert few < share * many
    assert completed(options, Parser.parse_defaults) == (text, few)  # the next call begins anew


def test_equal_numbers_are_told_apart():
    given = [1, True, 1.0, 0.0, -0.0]
    parser = Parser()
    for i, by in enumerate(given):
        parser.add_subclass_arguments(Shift, f"shift{i}")
        parser.set_defaults({f"shift{i}": {"class_path": f"{__name__}.Shift", "init_args": {"by": by}}})
    found = parser.parse_defaults()
    assert repr([found[f"shift{i}"].init_args.by for i in range(len(given))]) == repr(given)
