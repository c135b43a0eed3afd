"""The library's texts in the words of the command line: `verify` is --cacert there.

A refusal of the library begins with the name of an argument, which it also has
as its attribute `argument`. Advice has the form verify='/path/to/ca.pem'.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing's own would cost the import of typing
if TYPE_CHECKING:
    from .options import Options

# Every other argument is the option of the same name.
_WORDS = {"verify": "--cacert", "password": "the password", "id": "ID", "object_id": "OBJECT_ID"}

# Advice that shows an argument as it stands in Python.
_ADVICE = [
    (r"\bverify='([^']*)'", r"--cacert \1"),
    (r"\bcert=\(certificate, key\) names two files", "--key names the file of the key"),
    (r"\(cert\)", "(--cert)"),
]


def in_words(error: object, options: Options | None = None) -> str:
    import re

    text = str(error)
    for advice, words in _ADVICE:
        text = re.sub(advice, words, text)
    argument = getattr(error, "argument", None)
    if isinstance(argument, str) and text.startswith(argument):
        return _word(argument, options) + text[len(argument) :]
    return text


def _word(argument: str, options: Options | None) -> str:
    word = _WORDS.get(argument) or "--" + argument.replace("_", "-")
    if argument not in ("host", "login", "cert") or options is None or argument in options.given:
        return word
    name = f"SAYMON_{argument.upper()}"
    return name if os.environ.get(name) else f"the {argument} of netrc"
