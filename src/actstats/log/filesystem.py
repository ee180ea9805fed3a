"""What kind of file system a path is on."""

from __future__ import annotations

from pathlib import Path

__all__ = ["is_remote"]

_REMOTE = frozenset(
    (
        *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "nfs"),
        *("nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs", "wekafs"),
    )
)
MOUNTS = Path("/proc/self/mounts")


def is_remote(path: Path) -> bool:
    """Tell whether a file is on a network file system, as far as the system says.

    Only Linux says. Elsewhere, and where a file system in user space hides what it is, it is taken
    for a local one.
    """
    kind = _kind(path.resolve())
    return kind.removeprefix("fuse.") in _REMOTE | {"sshfs", "s3fs", "gcsfuse", "rclone"}


def _kind(path: Path) -> str:
    """Return the type of the file system that the longest mount point above the path has."""
    try:
        lines = MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    for _, point, found, *_ in (line.split(" ") for line in lines):
        where = point.encode("utf-8", "surrogateescape").decode("unicode_escape")
        if len(where) >= len(best) and path.is_relative_to(where):
            best, kind = where, found
    return kind
