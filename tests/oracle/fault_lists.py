"""Makes tests/fixtures/fault_lists: lists of faults as pandas, and spreadsheets in its words, write them.

Run from the root of the repository, in an environment with pandas:

    python tests/oracle/fault_lists.py EXPORT.csv

EXPORT.csv is what `flipside export` writes of the campaign that `tests/campaign/lists.rs` calls `exported`
(`FLIPSIDE_KEEP_EXPORT=EXPORT.csv` in that test's environment keeps it). Made with pandas 3.1.1.
"""

import pathlib
import sys

import pandas as pd

OUT = pathlib.Path("tests/fixtures/fault_lists")

# Sites mixed: whole numbers beside empty cells become floats.
MIXED = pd.DataFrame(
    [
        {"layer": "conv1", "image": 0, "channel": 3, "row": 2, "column": 5, "bit": 30},
        {"layer": "conv1", "site": "weight", "image": 3, "out": 2, "in": 1, "row": 0, "column": 2, "bit": 29},
        {"layer": "layer1.0.conv2", "site": "input", "image": 1, "channel": 2, "row": 7, "column": 1, "bit": 22},
        {"layer": "conv1", "site": "weight", "image": 4, "index": 17, "bit": 30},
        {"layer": "fc", "image": 5, "channel": 6, "row": 0, "column": 0, "model": "set", "value": 7.5},
    ]
)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    MIXED.to_csv(OUT / "mixed.csv")
    MIXED.to_csv(OUT / "mixed_semicolons.csv", index=False, sep=";", encoding="utf-8-sig", lineterminator="\r\n")
    MIXED.to_csv(OUT / "mixed_tabs.csv", index=False, sep="\t")
    pd.read_csv(OUT / "mixed.csv").to_csv(OUT / "mixed_again.csv")
    export = pd.read_csv(sys.argv[1])
    export.to_csv(OUT / "export.csv")
    plain = export[export.detector == "none"]
    plain[["layer", "site", "image", "element", "bit"]].to_csv(OUT / "export_elements.csv", index=False)


if __name__ == "__main__":
    main()
