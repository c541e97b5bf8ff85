"""Parsing with jsonargparse, whose nested messages become one clear sentence that begins with the option."""

from __future__ import annotations

import inspect
import os
import re
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from pydoc import locate
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings
from torch import Tensor

from pyrovae.checks import InputError

__all__ = ["Parser"]

set_parsing_settings(import_path_denylist=[])  # as jsonargparse 5 will: os.system is refused before it is imported

_YAML_BOOLS = {"on": True, "off": False, "yes": True, "no": False}  # of version 1.1, in which files are read

_TYPES = {"int": "an integer", "float": "a number", "bool": "true or false", "tuple": "a list", "str": "a text"}


class Parser(ArgumentParser):
    """Say what is wrong in one sentence: the option, what was given, what would be accepted.

    jsonargparse makes the parsers of components' own options of this class too, so that each level of nesting
    words its own part, and puts the names of the options in front.

    Raises:
        ValueError: instead of exiting, for arguments that cannot be parsed.

    Example:
        >>> parser = Parser()
        >>> action = parser.add_argument("--epochs", type=int)
        >>> parser.parse_args(["--epochs", "many"])
        Traceback (most recent call last):
        ...
        pyrovae.checks.InputError: --epochs: expected an integer, but many was given
    """

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Namespace:
        """Read a configuration as UTF-8, in which pyrovae writes it, whatever the locale."""
        try:
            content = Path(path).read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(
                f"--config: the file must be UTF-8, but {path} is not (byte {error.start}): save it as UTF-8"
            ) from error
        return self.parse_string(content, os.path.basename(path), *args, **kwargs)

    def _check_value_key(self, action: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        """Take ``off`` and the like for the word that is offered, where YAML reads false."""
        if isinstance(value, bool):
            words = [word for word in _words(getattr(action, "_typehint", None)) if _YAML_BOOLS.get(word) is value]
            value = words[0] if words else value
        return super()._check_value_key(action, value, *args, **kwargs)

    def validate(self, cfg: Any, *args: Any, **kwargs: Any) -> None:
        """Refuse a function where a class is asked for: nothing but the classes that are named is ever called."""
        super().validate(cfg, *args, **kwargs)
        for action in self._actions:
            value, hint = cfg.get(action.dest), getattr(action, "_typehint", None)
            if isinstance(value, Namespace) and "class_path" in value:
                name, given = value.class_path, locate(value.class_path)
            elif callable(value) and value is not action.default and _is_factory(hint):
                name, given = f"{value.__module__}.{value.__qualname__}", value
            else:
                continue
            if not isinstance(given, type):
                self.error(f"Parser key \"{action.dest}\": Expected '{name}' to be a subclass of {hint}")

    def instantiate(self, *args: Any, **kwargs: Any) -> Any:
        """Make what was chosen; what an optional component says of its own options is the sentence."""
        try:
            return super().instantiate(*args, **kwargs)
        except ValueError as error:
            refusal = re.search(r"Errors:\s+- (.*?)\s+- Expected a <class 'NoneType'>", str(error), re.DOTALL)
            if refusal is None:
                raise
            raise InputError(refusal[1]) from error

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the sentence, where jsonargparse would print its message and exit."""
        key, text = _split_key(message)
        raise InputError(_under(key, _sentence(self, key, text))) from ex


def _words(hint: Any) -> list[str]:
    """Return the words that an option offers; a type of truth values offers none."""
    parts = typing.get_args(hint)
    if bool in parts:
        return []
    if typing.get_origin(hint) is typing.Literal:
        return [part for part in parts if isinstance(part, str)]
    return [word for part in parts for word in _words(part)]


def _split_key(message: str) -> tuple[str, str]:
    found = re.match(r'\s*Parser key "([^"]+)"[^:]*:(.*)', message, re.DOTALL)
    return (found[1], found[2]) if found else ("", message)


def _under(key: str, sentence: str) -> str:
    """Put an option's name in front, or before the name of the option's own option."""
    if not key:
        return sentence
    return f"--{key}.{sentence[2:]}" if sentence.startswith("--") else f"--{key}: {sentence}"


def _sentence(parser: ArgumentParser, key: str, text: str) -> str:
    text = " ".join(text.split())
    if text.startswith("--"):
        return text  # worded by the parser of the component's own options
    alternatives = re.search(r"Union subtypes .*? Errors: - (.*) Given value type: .*? Given value: (.*)$", text)
    if alternatives:
        errors = [error for error in alternatives[1].split(" - ") if "NoneType" not in error]
        nested = next((_split_key(error) for error in errors if "--" in error or 'Parser key "' in error), None)
        if nested is not None:
            return _under(nested[0], _sentence(parser, "", nested[1]))
        text = next((error for error in errors if "float" in error or "int" in error), errors[0])
        text = re.split(r"\.? Got value: ", text)[0] + f". Got value: {alternatives[2]}"
    text = re.sub(r"^Type \S.*? expects a function or a callable class: ", "", text)
    if text.startswith("--"):
        return re.sub(r"\.* Got value: .*$", "", text)
    return _command(parser, text) or _class(parser, key, text) or _value(text)


def _command(parser: ArgumentParser, text: str) -> str | None:
    """Word what concerns options as such: unknown, missing, or in a file that holds none."""
    names = ", ".join(_options(parser))
    if found := re.match(r"argument COMMAND: invalid choice: (\S+) \(choose from (.*)\)", text):
        return f"COMMAND must be one of {found[2]}, but {found[1]} was given".replace("'", "")
    if found := re.match(r'[Ee]xpected "subcommand" to be one of \{(.*)\}', text):
        return f"COMMAND must be one of {found[1].replace(',', ', ')}, but none was given"
    if found := re.match(r"[Uu]nrecognized arguments: (.*)", text):
        return f"there is no option {found[1]} here: --help lists them"
    if found := re.match(r"(?:Subcommand '\w+' does not accept o|O)ption '([^']+)'(?: is not accepted)?$", text):
        accepted = f"; accepted are {names}" if names else ", and the class takes none"
        return f"--{found[1]}: there is no such option" + (accepted if not parser._subcommands_action else "")
    if found := re.match(r"the following arguments are required: (?:\w+\.)?(.*)", text):
        return f"--{found[1]}: must be given" if not parser._subcommands_action else f"{found[1]} must be given"
    if found := re.match(r"argument (--\S+): expected one argument", text):
        return f"{found[1]}: a value must be given, but none was given"
    if found := re.match(r"Unexpected config: ?(.*)", text):
        held = f"holds {found[1][:100]}" if found[1] else "is empty"
        return f"--config: the file must hold a mapping of options, but it {held}"
    if found := re.match(r"Problems parsing config: (.*)", text):
        return f"--config: the file must be YAML, but cannot be parsed: {found[1]}".replace(
            ' in "<unicode string>",', " in"
        )
    return None


def _class(parser: ArgumentParser, key: str, text: str) -> str | None:
    """Word what concerns the choice of a class, with the names that are known."""
    action = next((action for action in _actions(parser) if action.dest == key), None)
    base, known = _known(getattr(action, "_typehint", None))
    accepted = "; " + (f"known are {', '.join(known)}, or give" if known else "give")
    accepted += " an import path such as my_package.MyClass"
    text, _, given = text.partition(" Got value: ")
    text = text.rstrip(".")
    if found := re.match(r"Expected a dot import path string: (.*)", text):
        return f"there is no {base} named {found[1]}{accepted}"
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


def _value(text: str) -> str:
    """Word what concerns a value."""
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


def _known(hint: Any) -> tuple[str, list[str]]:
    """Return the name of the class that a type asks for, and of those that are known to be one."""
    arguments = [part for part in typing.get_args(hint) if part is not type(None)]
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _known(arguments[0])
    if origin is type:
        return arguments[0].__name__, []  # an activation: torch.nn has too many to name
    if not arguments or not isinstance(arguments[-1], type):
        return getattr(hint, "__name__", "class"), []
    base, accepted = arguments[-1], arguments[0] if isinstance(arguments[0], list) else arguments[:-1]
    concrete = (kind for kind in _subclasses(base) if not inspect.isabstract(kind))
    found = [kind for kind in concrete if not kind.__name__.startswith("_")]
    if base.__module__.startswith("torch.nn"):  # of all modules, pyrovae's that take what they are given here
        found = [kind for kind in found if kind.__module__.startswith("pyrovae.") and _required(kind) == accepted]
        found = [kind for kind in found if hasattr(kind, "model") == (accepted[-1] is int)]  # a program, or a network
    return base.__name__, sorted({kind.__name__ for kind in found})


def _is_factory(hint: Any) -> bool:
    """Tell whether a type asks for what makes a component, and not for a function of numbers."""
    arguments = [part for part in typing.get_args(hint) if part is not type(None)]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_is_factory(part) for part in arguments)
    made = arguments[-1] if typing.get_origin(hint) is Callable and arguments else None
    return isinstance(made, type) and made.__module__ != "builtins" and not issubclass(made, Tensor)


def _subclasses(base: type) -> Iterator[type]:
    children: list[type] = type.__subclasses__(base)
    for kind in children:
        yield kind
        yield from _subclasses(kind)


def _required(kind: type) -> list[Any]:
    parameters = inspect.signature(kind, eval_str=True).parameters.values()
    return [parameter.annotation for parameter in parameters if parameter.default is parameter.empty]
