"""Run a program in this process without everything that only POSIX systems have: `without_posix.py PROGRAM ARGS…`.

The standard library and platformdirs are loaded first, as they have a Windows form of their own. Other packages then
look for themselves.
"""

import asyncio
import asyncio.unix_events
import ctypes
import multiprocessing
import os
import runpy
import shutil
import subprocess
import sys
import tempfile

import platformdirs.unix

POSIX_MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog")
POSIX_ONLY = {
    "os": {
        *("O_NOFOLLOW", "O_DIRECTORY", "O_CLOEXEC", "O_NONBLOCK", "O_SYNC", "O_DSYNC", "O_TMPFILE", "O_PATH"),
        *("pread", "pwrite", "preadv", "pwritev", "statvfs", "fstatvfs", "sendfile", "splice", "copy_file_range"),
        *("getuid", "geteuid", "getgid", "getegid", "getgroups", "getpgid", "getpgrp", "getsid", "setsid", "setpgid"),
        *("killpg", "fork", "forkpty", "fchmod", "fchown", "chown", "lchown", "fchdir", "chroot", "mkfifo", "mknod"),
        *("memfd_create", "MFD_CLOEXEC", "posix_fallocate", "posix_fadvise", "sched_getaffinity", "nice"),
        *("uname", "getloadavg", "sysconf", "confstr", "ttyname", "ctermid", "openpty", "fdatasync", "lockf", "sync"),
        *("getxattr", "setxattr", "pipe2", "readv", "writev", "WNOHANG", "wait", "wait3", "wait4", "waitid"),
    },
    "signal": {
        *("SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGQUIT", "SIGTSTP", "SIGCONT", "SIGSTOP"),
        *("pthread_sigmask", "pthread_kill", "siginterrupt", "setitimer", "alarm", "pause", "sigwait", "sigpending"),
        *("SIG_BLOCK", "SIG_UNBLOCK", "SIG_SETMASK", "SIGWINCH", "SIGCHLD"),
    },
}
LOADED = (ctypes, multiprocessing, platformdirs.unix, shutil, subprocess, tempfile)


def strip():
    """Take it all away."""
    usage = shutil.disk_usage("/")
    shutil.disk_usage = lambda path: usage
    for name in POSIX_MODULES:
        sys.modules[name] = None
    for module, names in POSIX_ONLY.items():
        for name in names:
            vars(sys.modules[module]).pop(name, None)
    os.supports_dir_fd.clear()
    os.supports_follow_symlinks.discard(os.link)
    for name in ("add_signal_handler", "remove_signal_handler"):
        delattr(asyncio.unix_events._UnixSelectorEventLoop, name)


if __name__ == "__main__":
    strip()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
