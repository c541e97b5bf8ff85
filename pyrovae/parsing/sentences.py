"""Nested messages of jsonargparse rewritten as one sentence, which starts with the option."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from jsonargparse import ArgumentParser

from pyrovae.parsing.classes import base_of, class_names
from pyrovae.parsing.suggestions import nearest, nearest_options

__all__ = ["error_sentence"]

_TYPES = {"int": "an integer", "float": "a number", "bool": "true or false", "tuple": "a list", "str": "a text"}


def error_sentence(parser: ArgumentParser, message: str) -> str:
    """Rewrite an error message as one sentence: the option, the given value, and the accepted values.

    Args:
        parser: parser that raised the error.
        message: message of jsonargparse.
    """
    key, text = _split_key(message)
    return _with_key(key, _sentence(parser, key, text))


def _split_key(message: str) -> tuple[str, str]:
    found = re.match(r'\s*Parser key "([^"]+)"[^:]*:(.*)', message, re.DOTALL)
    return (found[1], found[2]) if found else ("", message)


def _with_key(key: str, sentence: str) -> str:
    """Prepend the name of an option to a sentence, or to the name of a nested option."""
    if not key:
        return sentence
    return f"--{key}.{sentence[2:]}" if sentence.startswith("--") else f"--{key}: {sentence}"


def _sentence(parser: ArgumentParser, key: str, text: str) -> str:
    text = " ".join(text.split())
    if text.startswith("--"):
        return text  # already rewritten by the parser of the component's options
    alternatives = re.search(r"Union subtypes .*? Errors: - (.*) Given value type: .*? Given value: (.*)$", text)
    if alternatives:
        errors = [error for error in alternatives[1].split(" - ") if "NoneType" not in error]
        nested = next((_split_key(error) for error in errors if "--" in error or 'Parser key "' in error), None)
        if nested is not None:
            return _with_key(nested[0], _sentence(parser, "", nested[1]))
        text = next((error for error in errors if "float" in error or "int" in error), errors[0])
        text = re.split(r"\.? Got value: ", text)[0] + f". Got value: {alternatives[2]}"
    text = re.sub(r"^Type \S.*? expects a function or a callable class: ", "", text)
    if text.startswith("--"):
        return re.sub(r"\.* Got value: .*$", "", text)
    return _command(parser, text) or _class(parser, key, text) or _value(text)


def _command(parser: ArgumentParser, text: str) -> str | None:
    """Rewrite errors about unknown or missing options, or files without options."""
    names = ", ".join(_options(parser))
    if found := re.match(r"[Uu]nrecognized arguments: (.*)", text):
        meant = nearest_options(parser, found[1].split()[0].partition("=")[0].lstrip("-"))
        return f"there is no option {found[1]} here{_suggestion(*(f'--{name}' for name in meant))}: --help lists them"
    if found := re.match(r"(?:Subcommand '\w+' does not accept o|O)ption '([^']+)'(?: is not accepted)?$", text):
        accepted = f"; accepted are {names}" if names else ", and the class takes none"
        meant = nearest_options(parser, found[1])
        return f"--{found[1]}: there is no such option{_suggestion(*meant)}" + (
            accepted if not parser._subcommands_action else ""
        )
    if found := re.match(r"the following arguments are required: (?:\w+\.)?(.*)", text):
        return f"--{found[1]}: must be given" if not parser._subcommands_action else f"{found[1]} must be given"
    if found := re.match(r"Unexpected config: ?(.*)", text):
        held = f"holds {found[1][:100]}" if found[1] else "is empty"
        return f"--config: the file must hold a mapping of options, but it {held}"
    if found := re.match(r"Problems parsing config: (.*)", text):
        return f"--config: the file must be YAML, but cannot be parsed: {found[1]}".replace(
            ' in "<unicode string>",', " in"
        )
    return None


def _class(parser: ArgumentParser, key: str, text: str) -> str | None:
    """Rewrite errors about the choice of a class, with the known names."""
    action = next((action for action in _actions(parser) if action.dest == key), None)
    hint = getattr(action, "_typehint", None)
    base, known = _path(hint), class_names(hint)
    accepted = "; " + (f"known are {', '.join(known)}, or give" if known else "give")
    accepted += " an import path such as my_package.MyClass"
    text, _, given = text.partition(" Got value: ")
    text = text.rstrip(".")
    if found := re.match(r"Expected a dot import path string: (.*)", text):
        meant = nearest(found[1], known)
        return f"there is no {base.rpartition('.')[2]} named {found[1]}{_suggestion(meant)}{accepted}"
    if found := re.match(r"Expected '(.*)' to be a (?:subclass of|function that|class that)", text):
        return f"must be a subclass of {base}, but {found[1]} was given{accepted}"
    if found := re.match(r"Importing '(.*?)' is not allowed", text):
        return f"must be a subclass of {base}, but {found[1]} was given, which may not be imported{accepted}"
    if found := re.match(r"Multiple subclasses with name (\S+)\. .* ambiguity: (.*)", text):
        return f"several classes are named {found[1]}, so give one of {found[2]}"
    if found := re.match(r"With fail_untyped=True.* Parameter '(\w+)' from '(.*)\.__init__' does not", text):
        return f"{found[2]} cannot be used, for its option {found[1]} has no type, and the class cannot be made without"
    if re.match(
        r"No module named |module '.*' has no attribute |Unexpected import path|Unexpected import object", text
    ):
        return f"the class cannot be imported ({text[0].lower()}{text[1:]}){accepted}"
    if text.startswith("Expected an import path"):
        return f"must be a subclass of {base}, but {given} was given{accepted}"
    return None


def _path(hint: Any) -> str:
    """Return the import path of the class that an option requires if it is public in its package, else its name."""
    base = base_of(hint)
    name = getattr(base or hint, "__name__", "class")
    package = getattr(base, "__module__", "").partition(".")[0]
    return f"{package}.{name}" if base and getattr(import_module(package), name, None) is base else name


def _suggestion(*names: str | None) -> str:
    """Return a question whether one of these names was meant."""
    meant = [name for name in names if name]
    return f" (did you mean {' or '.join(meant)}?)" if meant else ""


def _value(text: str) -> str:
    """Rewrite errors about values."""
    text, _, given = text.partition("Got value: ")
    text = text.strip().rstrip(".")
    if found := re.match(
        r"[Nn]ot of type PositiveInt: (?:invalid literal .*: )?'?(.*?)'?(?: does not conform .*)?$", text
    ):
        return f"expected an integer of at least 1, but {found[1]} was given"
    text = re.sub(r"a typing\.Literal\[(.*)\]", lambda found: "one of " + found[1].replace("'", ""), text)
    text = re.sub(r"an? <class '([^']+)'>", lambda found: _TYPES.get(found[1], f"a {found[1]}"), text)
    text = re.sub(r"<class '([^']+)'>", r"\1", text).replace("a tuple with", "a list of")
    return text[:1].lower() + text[1:] + (f", but {given.rstrip('.')} was given" if given else "")


def _actions(parser: ArgumentParser) -> Iterator[Any]:
    yield from parser._actions
    if parser._subcommands_action:
        for subparser in parser._subcommands_action.choices.values():
            yield from subparser._actions


def _options(parser: ArgumentParser) -> list[str]:
    names = [action.dest for action in parser._actions if action.dest not in ("help", "config", "subcommand")]
    return [name for name in names if "." not in name and not name.startswith(("_", "print_"))]
