"""Running a part of a test without the rights of root, which would pass over file modes."""

import os
import traceback

NOBODY = 65534


def without_privileges(directory, function):
    """Call `function()` in a child process that owns `directory`, works in it, and is not root."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.chdir(directory)
            if os.geteuid() == 0:
                os.chown(".", NOBODY, NOBODY)
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            function()
            code = 0
        finally:
            if code:
                traceback.print_exc()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the child process failed, see its output"
