import pytest

from actstats.log import filesystem

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
tmpfs /home/scratch tmpfs rw 0 0
me@host:/data /mnt/my\\040data fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("/srv/run", False),
        ("/home/me/run", True),
        ("/homework/run", False),
        ("/home/scratch/run", False),
        ("/mnt/my data/run", True),
    ],
)
def test_a_network_file_system_is_known_by_the_longest_mount_point(
    tmp_path, monkeypatch, path, remote
):
    (tmp_path / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(filesystem, "MOUNTS", tmp_path / "mounts")
    assert filesystem.is_remote(filesystem.Path(path)) is remote


def test_where_no_mounts_are_told_a_file_system_is_local(tmp_path, monkeypatch):
    monkeypatch.setattr(filesystem, "MOUNTS", tmp_path / "none")
    assert not filesystem.is_remote(tmp_path)
