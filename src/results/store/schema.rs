//! The tables of a store.

/// "FLIP": what a store's file calls itself.
pub const APPLICATION_ID: i64 = 0x464C_4950;

/// Version of the tables.
pub const FORMAT: i64 = 2;

/// Numbers of layers, images and outcomes are those of the tables beside; those of
/// detectors are in the table of `src/detector`. A float that isn't a number is NULL.
pub const TABLES: &str = "
CREATE TABLE manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE layers (
    layer INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    pair_key TEXT NOT NULL,
    kind TEXT NOT NULL,
    part TEXT NOT NULL,
    shape TEXT NOT NULL,
    input_shape TEXT NOT NULL,
    macs INTEGER NOT NULL,
    range REAL,
    variant TEXT NOT NULL
);

CREATE TABLE images (
    place INTEGER PRIMARY KEY,
    image INTEGER NOT NULL UNIQUE,
    path TEXT NOT NULL,
    label INTEGER NOT NULL,
    logits_hash INTEGER NOT NULL,
    top1 INTEGER NOT NULL,
    loss REAL,
    p_label REAL,
    top2diff REAL
);

CREATE TABLE shards (
    shard INTEGER PRIMARY KEY,
    shards INTEGER NOT NULL,
    complete INTEGER NOT NULL
);

CREATE TABLE injections (
    layer INTEGER NOT NULL,
    n INTEGER NOT NULL,
    detector INTEGER NOT NULL,
    site TEXT NOT NULL,
    image INTEGER NOT NULL,
    flips INTEGER NOT NULL,
    element INTEGER,
    k INTEGER,
    mask INTEGER,
    before INTEGER,
    after INTEGER,
    seen INTEGER,
    top1 INTEGER NOT NULL,
    loss REAL,
    p_label REAL,
    top2diff REAL,
    outcome TEXT NOT NULL,
    sdc5 INTEGER NOT NULL,
    logits_hash INTEGER NOT NULL,
    PRIMARY KEY (layer, n, detector)
) WITHOUT ROWID;
";

/// What a census says of a campaign's layers, image by image, which a store has once it was counted: mean ΔLoss under
/// the range detector of every single-bit fault in the layer's output, as trained (temperature 0) and with logits divided by
/// the campaign's first and second temperature.
pub const COUNTED: &str = "
CREATE TABLE IF NOT EXISTS counted (
    layer INTEGER NOT NULL,
    temperature INTEGER NOT NULL,
    image INTEGER NOT NULL,
    delta_loss REAL,
    PRIMARY KEY (layer, temperature, image)
) WITHOUT ROWID;
";

/// How many records `inject --verify` ran again, all of which came out with the same bits.
pub const VERIFIED: &str = "
CREATE TABLE IF NOT EXISTS verified (
    records INTEGER NOT NULL
);
";

/// The column of `injections` for ΔLoss at a campaign's temperature number `place`, which stores of campaigns with
/// temperatures have behind the others.
pub fn rescaled(place: usize) -> String {
    format!("delta_loss_{}", place + 1)
}

/// Adds the columns of so many temperatures.
pub fn add_rescaled(temperatures: usize) -> String {
    let add = |place| format!("ALTER TABLE injections ADD COLUMN {} REAL;", rescaled(place));
    (0..temperatures).map(add).collect()
}

/// The names of a census' tables.
pub const CENSUS_TABLES: [&str; 4] =
    ["exhaustive_manifest", "exhaustive_cells", "exhaustive_octaves", "exhaustive_bins"];

/// The tables of a census, which a store has once it holds one. A unit is a class or a feature; a cell
/// holds every fault of one bit of a unit, over all images (and, of weights, over the class's row); sums
/// are over the `measured` faults, those whose answers are finite. `octaves` count those of a cell by
/// ΔLoss from `low` up to `high`, `bins` those of a bit, more finely. Without the range detector the sum
/// of ΔLoss is NULL: one exponent bit would carry it.
pub const CENSUS: &str = "
CREATE TABLE IF NOT EXISTS exhaustive_manifest (
    mode TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (mode, key)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS exhaustive_cells (
    mode TEXT NOT NULL,
    place TEXT NOT NULL,
    unit INTEGER NOT NULL,
    detector INTEGER NOT NULL,
    bit INTEGER NOT NULL,
    nonfinite INTEGER NOT NULL,
    masked INTEGER NOT NULL,
    sdc INTEGER NOT NULL,
    benign INTEGER NOT NULL,
    sdc5 INTEGER NOT NULL,
    measured INTEGER NOT NULL,
    delta_loss REAL,
    delta_p REAL NOT NULL,
    top2diff REAL NOT NULL,
    PRIMARY KEY (mode, place, unit, detector, bit)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS exhaustive_octaves (
    mode TEXT NOT NULL,
    place TEXT NOT NULL,
    unit INTEGER NOT NULL,
    detector INTEGER NOT NULL,
    bit INTEGER NOT NULL,
    low REAL NOT NULL,
    high REAL NOT NULL,
    faults INTEGER NOT NULL,
    PRIMARY KEY (mode, place, unit, detector, bit, low)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS exhaustive_bins (
    mode TEXT NOT NULL,
    place TEXT NOT NULL,
    detector INTEGER NOT NULL,
    bit INTEGER NOT NULL,
    low REAL NOT NULL,
    high REAL NOT NULL,
    faults INTEGER NOT NULL,
    PRIMARY KEY (mode, place, detector, bit, low)
) WITHOUT ROWID;
";
