"""What ends a command with one line and no traceback: bad input (2), a failed concept (1)."""


class UserError(ValueError):
    """Bad input. The message says what is wrong, with which value, where, and what to do."""


class QuarantineError(Exception):
    """A run whose other concepts are done, while these are in quarantine; exit code 1."""

    def __init__(self, message: str, concepts: frozenset[str]):
        super().__init__(message)
        self.concepts = concepts
