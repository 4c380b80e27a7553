"""How to start what sees other mounts and processes than this machine has, and ends with its parent."""

import os

NAMESPACE = (
    "unshare",
    *(() if os.geteuid() == 0 else ("--user", "--map-root-user")),
    *("--mount", "--pid", "--fork", "--mount-proc", "--kill-child"),
)
