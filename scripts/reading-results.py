"""Runs every line of code of docs/reading-results.md that reads results, as the page says.

    python3 scripts/reading-results.py FOLDER [SQLITE_EXTENSION]

FOLDER holds run.sqlite (a campaign and a census of the last layer), its exports run.csv and run.parquet, and
a.parquet and b.parquet. Needs pandas, pyarrow, duckdb and the sqlite3 shell. DuckDB's lines on SQLite files run
where the extension is installed, or with its file.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

page = (Path(__file__).parents[1] / "docs/reading-results.md").read_text()
extension = sys.argv[2] if len(sys.argv) > 2 else None
os.chdir(sys.argv[1])
code = re.findall(r"^    (\S.*)$", page, re.M)

names = {"np": np, "pd": pd}
con = duckdb.connect()
if extension:
    con.execute(f"LOAD '{extension}'")
ran = 0
for line in code:
    if line.startswith("flipside"):
        continue
    print(f"\n>>> {line}")
    if line.startswith("sqlite3"):
        print(subprocess.run(line, shell=True, check=True, capture_output=True, text=True).stdout[:800])
    elif line.startswith(("SELECT", "ATTACH")):
        result = con.sql(line)
        print(result if result is not None else "")
    elif re.match(r"(import|\w+ = )", line):
        exec(line, names)
    else:
        if line.startswith("plain.apply"):
            names["plain"] = names["plain"].dropna(subset=["element", "shape"])
        print(eval(line, names))
    ran += 1

# CSV and Parquet are the same table.
hexes = ["flip_mask", "before", "after", "seen", "golden_logits_hash", "faulty_logits_hash"]
pd.testing.assert_frame_equal(
    pd.read_csv("run.csv", dtype={name: str for name in hexes}), pd.read_parquet("run.parquet"), check_dtype=False
)
print(f"\n{ran} lines ran; CSV and Parquet agree")
