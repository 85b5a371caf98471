"""The one error that is the user's to mend: one line, exit code 2, no traceback."""


class UserError(ValueError):
    """Bad input. The message says what is wrong, with which value, where, and what to do."""
