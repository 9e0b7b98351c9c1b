"""Where the lab keeps what it can make again: outside the repository, by content key."""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
LAB = REPOSITORY / "Tests" / "Lab"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "vfiod-lab"


def tree_digest(*roots, extra=()):
    """A hash over names, modes and contents of files (or all files below folders), and over `extra` strings."""
    digest = hashlib.sha256()
    for text in extra:
        digest.update(b"extra\0" + str(text).encode() + b"\0")
    for root in roots:
        root = pathlib.Path(root)
        for path in sorted([root] if root.is_file() else root.rglob("*")):
            if path.is_symlink() or not path.is_file():
                continue
            name = path.relative_to(root.parent).as_posix()
            digest.update(f"{name}\0{path.stat().st_mode & 0o111:o}\0{path.stat().st_size}\0".encode())
            with open(path, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def locked(name):
    """One lab at a time makes a thing; the others wait for it and then find it made."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def alive(pid):
    """Whether a process runs; one that is dead but not yet reaped does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@contextlib.contextmanager
def run_folder():
    """A folder for one run, gone after it. One that a killed lab left behind is removed by the next."""
    runs = CACHE / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    for old in runs.iterdir():
        owner = old.name.split(".")[0]
        if owner.isdigit() and not alive(owner):
            shutil.rmtree(old, ignore_errors=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{os.getpid()}.", dir=runs))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
