"""The errors a user may see, each a sentence and what to type next.

raise UserError("no dataset at runs/digits", "pack one: python jobs/pack.py source=digits out=runs/digits")
"""


class MantaError(Exception):
    """An error with a sentence for the user and, where there is one, a hint on what to do."""

    exit_code = 1

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem, hint)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.problem}\n{self.hint}" if self.hint else self.problem


class UserError(MantaError):
    """What was given cannot work: found before anything starts (exit code 2)."""

    exit_code = 2


class RunError(MantaError):
    """A run that had started could not go on (exit code 1)."""


class GateError(MantaError):
    """A gate was not passed, such as a margin of accuracy (exit code 3)."""

    exit_code = 3
