"""What a user is told of an error that nobody foresaw: its kind and where the details are, never a traceback."""

import os
import tempfile
import traceback


def keep_traceback(error: BaseException) -> str:
    """Write the traceback to a file that only this user may read; return what to tell, in one line.

    The line names the kind alone: the text of an error may hold a secret. Where no file can be made, it says so.
    """
    said = f"unexpected {type(error).__name__}"
    try:
        descriptor, path = tempfile.mkstemp(prefix="pps-traceback-", suffix=".txt")
        with os.fdopen(descriptor, "w", errors="backslashreplace") as file:
            traceback.print_exception(error, file=file)
    except OSError as trouble:
        return f"{said}: its traceback could not be kept: {trouble.strerror}"
    return f"{said}: the traceback is in {path}"
