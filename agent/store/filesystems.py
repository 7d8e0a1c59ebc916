"""Finds file systems that cannot carry SQLite's write-ahead log, whose users share memory, so must share a machine."""

from pathlib import Path

import psutil  # type: ignore[import-untyped]

_NETWORK = {
    *("afpfs", "cifs", "nfs", "nfs3", "nfs4", "smb", "smb2", "smb3", "smbfs", "webdav"),
    *("afs", "beegfs", "ceph", "fhgfs", "glusterfs", "gpfs", "lustre", "orangefs", "panfs", "pvfs2", "wekafs"),
    *("davfs", "gcsfuse", "goofys", "juicefs", "ncpfs", "rclone", "s3fs", "sshfs"),
    *("9p", "vboxsf"),
}
"""Types as the table of mounts names them; `fuse.X` counts where X does."""


def network_filesystem(path: Path) -> str | None:
    """The type of the network file system that holds `path`, or None if it lies on a local one."""
    kind = _filesystem(path.resolve()).lower()
    return kind if kind.removeprefix("fuse.") in _NETWORK else None


def _filesystem(path: Path) -> str:
    """The type of the innermost mount above `path`; of several on one point the last mounted is the one seen."""
    mounts = [mount for mount in psutil.disk_partitions(all=True) if path.is_relative_to(mount.mountpoint)]
    return max(reversed(mounts), key=lambda mount: len(mount.mountpoint)).fstype if mounts else ""
