# SPDX-License-Identifier: Apache-2.0
"""Run a command for as long as its owner lives: `python guard.py DESCRIPTOR COMMAND ..`.

The owner holds the other end of the descriptor's pipe and never writes: when it ends, even by SIGKILL, the system
closes that end, and everything in this process's group is killed. It must lead a group of its own.
"""

import os
import select
import signal
import sys


def main() -> int:
    owner, command = int(sys.argv[1]), sys.argv[2:]
    ended, end = os.pipe()
    os.set_blocking(end, False)
    signal.set_wakeup_fd(end)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    child = os.fork()
    if child == 0:
        _become(command, (owner, ended, end))
    while True:
        ready, _, _ = select.select([owner, ended], [], [])
        if owner in ready:
            os.killpg(0, signal.SIGKILL)
        os.read(ended, 64)
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code  # as a shell tells of signals


def _become(command: list[str], files: tuple[int, ...]) -> None:
    for number in files:
        os.close(number)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores the last two; tools may not
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(127)


if __name__ == "__main__":
    sys.exit(main())
