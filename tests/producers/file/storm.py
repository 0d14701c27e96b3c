"""Writes many small files as fast as it can; a program of its own, so that it has its own core.

storm.py ROOT FILES FILES_PER_FOLDER
"""

import sys
from pathlib import Path

root, files, per_folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for number in range(files):
    folder = f"{root}/d{number // per_folder}"
    if number % per_folder == 0:
        Path(folder).mkdir(exist_ok=True)
    with open(f"{folder}/f{number}.c", "w") as file:  # noqa: PTH123 - Path.open is slower
        file.write(f"int f{number};\n" * (number % 7))
