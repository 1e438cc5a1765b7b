"""The one exception that a user sees as a sentence instead of a traceback."""


class UserError(Exception):
    """A mistake the user can mend: names the file, field or option and says what to do.

    The command line prints the message and exits with status 1.
    """
