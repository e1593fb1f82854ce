"""The one error that the launcher shows to a person."""


class LauncherError(Exception):
    """Something outside this program is in the way; the message is one sentence that says what to do about it."""
