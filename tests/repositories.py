"""Repositories of git for tests, made in any folder."""
import os
import subprocess
from pathlib import Path

# what a hook of git would set, taken away
PLAIN = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def git(folder: Path, *args: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always"]
    done = subprocess.run(["git", "-C", folder, *who, *args], capture_output=True, text=True, check=True, env=PLAIN)
    return done.stdout.strip()


def committed(folder: Path) -> str:
    "The commit of all that lies in `folder`, made now."
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "all")
    return git(folder, "rev-parse", "HEAD")
