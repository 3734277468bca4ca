"""What pyproject.toml cannot say: a source distribution that two builds make equal to the byte.

Everything else stands in pyproject.toml.
"""

import gzip
import os
import tarfile
from pathlib import Path

from setuptools import setup
from setuptools.command.sdist import sdist


class EqualSdist(sdist):
    """Writes members in order, owned by nobody, with the time of SOURCE_DATE_EPOCH (or 1980)."""

    def make_archive(self, base_name, format, root_dir=None, base_dir=None, owner=None, group=None):
        folder = Path(base_dir or base_name)
        place = Path(f"{base_name}.tar.gz")
        epoch = int(os.environ.get("SOURCE_DATE_EPOCH", 315532800))
        with (
            place.open("wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=epoch) as packed,
            tarfile.open(mode="w", fileobj=packed, format=tarfile.PAX_FORMAT) as archive,
        ):
            for path in sorted(folder.rglob("*")):
                if path.is_dir():
                    continue
                member = archive.gettarinfo(path, str(Path(folder.name) / path.relative_to(folder)))
                member.uid = member.gid = 0
                member.uname = member.gname = ""
                member.mtime = epoch
                member.mode = 0o755 if member.mode & 0o100 else 0o644
                with path.open("rb") as content:
                    archive.addfile(member, content)
        return str(place)


setup(cmdclass={"sdist": EqualSdist})
