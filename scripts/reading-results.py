"""Runs every line of code of docs/reading-results.md that reads results, as the page says.

    python3 scripts/reading-results.py FOLDER [SQLITE_EXTENSION]

FOLDER holds run.sqlite (a campaign and a census of the last layer), its exports run.csv and run.parquet, and
a.parquet and b.parquet, of a baseline and a text-guided model. What DuckDB and pandas say of the same has to
agree. Needs pandas, pyarrow, duckdb and the sqlite3 shell. DuckDB's lines on SQLite files run
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
try:
    con.execute(f"LOAD '{extension or 'sqlite'}'")
    reads_sqlite = True
except duckdb.Error as error:
    if extension:
        raise
    print(f"DuckDB's lines on SQLite files are left out: {error}")
    reads_sqlite = False
ran = 0
tables = {}
for line in code:
    if line.startswith("flipside"):
        continue
    if not reads_sqlite and (line.startswith("ATTACH") or "FROM run." in line):
        continue
    print(f"\n>>> {line}")
    if line.startswith("sqlite3"):
        print(subprocess.run(line, shell=True, check=True, capture_output=True, text=True).stdout[:800])
    elif line.startswith(("SELECT", "PIVOT", "ATTACH")):
        result = con.sql(line)
        print(result if result is not None else "")
        if result is not None:
            tables[line] = result.df()
    elif re.match(r"(import|\w+ = )", line):
        exec(line, names)
    else:
        if line.startswith("plain.apply"):
            names["plain"] = names["plain"].dropna(subset=["element", "shape"])
        print(eval(line, names))
    ran += 1



def table(start):
    """The table of the one line that starts so."""
    (found,) = [frame for line, frame in tables.items() if line.startswith(start)]
    return found


def rates(name, by, outcome="sdc"):
    """Weighted rates of an outcome, without a detector."""
    rows = pd.read_parquet(name)
    rows = rows[rows.detector == "none"]
    weights = rows.sample_weight.groupby(rows[by]).sum()
    return (rows.sample_weight * (rows.outcome == outcome)).groupby(rows[by]).sum() / weights


# Rates of 0 are 0.
of_layers = table("SELECT layer, sum(sample_weight * (outcome").set_index("layer").sort_index()
for outcome in ["sdc", "nonfinite"]:
    np.testing.assert_allclose(of_layers[outcome], rates("run.parquet", "layer", outcome), rtol=1e-12)
of_bits = table("SELECT bit").dropna(subset=["bit"]).set_index("bit")
np.testing.assert_allclose(of_bits.sdc, rates("run.parquet", "bit"), rtol=1e-12)
# A direction is what the bit was before the flip.
flipped = pd.read_parquet("run.parquet").dropna(subset=["bit", "before"])
was_set = [int(before, 16) >> int(bit) & 1 == 1 for before, bit in zip(flipped.before, flipped.bit)]
assert (flipped.direction == np.where(was_set, "1-to-0", "0-to-1")).all()
of_directions = table("SELECT direction").set_index("direction")
of_directions = of_directions.sdc[of_directions.index.dropna()]
scaled = flipped[flipped.layer_type == "scale"].pair_key
counted = flipped[(flipped.detector == "none") & ((flipped.layer_type == "scale") | ~flipped.pair_key.isin(scaled))]
by_layer = counted.assign(sdc=(counted.outcome == "sdc") * counted.sample_weight).groupby(["direction", "layer"])
expected = (by_layer.sdc.sum() / by_layer.sample_weight.sum()).groupby("direction").mean()
np.testing.assert_allclose(of_directions, expected[of_directions.index], rtol=1e-12)
# Layers of a baseline and of a text-guided model stand beside each other, but for what one of them lacks.
beside = table("PIVOT").set_index("pair_key")
for name in ["a", "b"]:
    rows = pd.read_parquet(f"{name}.parquet")
    plain_layers = rows[(rows.layer_type != "scale") & (rows.detector == "none")]
    expected = plain_layers.groupby("pair_key").apply(lambda g: np.average(g.outcome == "sdc", weights=g.sample_weight))
    np.testing.assert_allclose(beside[name].dropna(), expected.loc[beside[name].dropna().index], rtol=1e-12)
    assert set(beside[name].dropna().index) == set(expected.index)
paired = beside.dropna().index
assert "last-layer" in paired and len(beside) - len(paired) <= 1, beside

# CSV and Parquet are the same table.
hexes = ["flip_mask", "before", "after", "seen", "golden_logits_hash", "faulty_logits_hash"]
pd.testing.assert_frame_equal(
    pd.read_csv("run.csv", dtype={name: str for name in hexes}), pd.read_parquet("run.parquet"), check_dtype=False
)
print(f"\n{ran} lines ran; CSV and Parquet agree")
