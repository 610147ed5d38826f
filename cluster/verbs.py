"""Commands whose first word says what is done: python -m cluster.local up | status | down.

run_verb(VERBS, prog="python -m cluster.local", doc=__doc__, place="a local Ray")
"""

import sys
from collections.abc import Callable, Mapping

from lib.console import say
from lib.errors import UserError

Verbs = Mapping[str, Callable[[list[str]], None]]


def run_verb(verbs: Verbs, *, prog: str, doc: str | None, place: str) -> None:
    """Do what the first word of the command line says, with the other words; UserError if it is no verb."""
    verb, words = "".join(sys.argv[1:2]), sys.argv[2:]
    if verb in ("-h", "--help"):
        say(str(doc).rstrip())
    elif verb in verbs:
        verbs[verb](words)
    else:
        hint = f"write {prog} {' | '.join(verbs)} [key=value …]"
        raise UserError(f"{verb or 'nothing'} is not what can be done with {place}", hint)
