"""Makes, writes, moves, links and removes files and folders at random, but always the same way.

turmoil.py ROOT SEED STEPS
"""

import contextlib
import os
import random
import shutil
import sys
from pathlib import Path

root, chance, steps = Path(sys.argv[1]), random.Random(int(sys.argv[2])), int(sys.argv[3])
folders = [root]


def some_file() -> Path:
    return chance.choice(folders) / f"f{chance.randrange(8)}.c"


def step() -> None:
    action = chance.randrange(20)
    if action < 8:
        some_file().write_text("x" * chance.randrange(2000))
    elif action < 11:
        some_file().unlink()
    elif action < 14:
        some_file().rename(some_file())
    elif action < 16 and len(folders) < 30:
        folder = chance.choice(folders) / f"d{chance.randrange(6)}"
        folder.mkdir()
        folders.append(folder)
        (folder / "first.c").write_text("made with its folder")
    elif action < 18 and len(folders) > 1:
        old = chance.choice(folders[1:])
        new = chance.choice(folders) / f"d{chance.randrange(6)}"
        old.rename(new)
        folders[:] = [
            new / each.relative_to(old) if each.is_relative_to(old) else each for each in folders
        ]
    elif action < 19 and len(folders) > 1:
        gone = chance.choice(folders[1:])
        shutil.rmtree(gone)
        folders[:] = [each for each in folders if not each.is_relative_to(gone)]
    else:
        os.link(some_file(), some_file())


for _ in range(steps):
    with contextlib.suppress(OSError):
        step()
