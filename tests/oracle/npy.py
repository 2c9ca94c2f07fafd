"""Makes tests/fixtures/npy: small arrays as numpy.save writes them.

Run from the root of the repository, in an environment with numpy:

    python tests/oracle/npy.py

Element i of an array, in row-major order, is i / 4 - 1 (exact in f16) or, of integers, 3 i - 4; of
booleans, whether i is odd. Made with numpy 2.4.6.
"""

import pathlib

import numpy as np

OUT = pathlib.Path("tests/fixtures/npy")


def save(name, array, version=(1, 0)):
    with open(OUT / f"{name}.npy", "wb") as file:
        np.lib.format.write_array(file, array, version=version)


def floats(*shape):
    return (np.arange(np.prod(shape, dtype=int)) / 4 - 1).reshape(shape)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for kind in ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"]:
        save({"<": "little_", ">": "big_"}[kind[0]] + kind[1:], floats(3, 4).astype(kind))
    for kind in ["i1", "i2", "i4", "i8", "u1"]:
        save(kind, (3 * np.arange(6) - 4).reshape(2, 3).astype(kind))
    save("b1", np.arange(6).reshape(2, 3) % 2 == 1)
    save("fortran", np.asfortranarray(floats(3, 4).astype("f4")))
    save("fortran_cube", np.asfortranarray(floats(2, 3, 4).astype(">f8")))
    save("version_2", floats(3, 4).astype("f4"), (2, 0))
    save("version_3", floats(3, 4).astype("f4"), (3, 0))
    save("scalar", floats())
    save("vector", floats(5).astype("f4"))
    save("empty", floats(0, 4).astype("f4"))
    # Refused.
    save("objects", np.array([[1.0, None]], dtype=object))
    save("fields", np.zeros(3, dtype=[("a", "f4"), ("b", "i4")]))
    save("complex", floats(3, 4).astype("c8"))
    save("text", np.array(["ab", "c"]))


if __name__ == "__main__":
    main()
