//! The tables of a store.

/// "FLIP": what a store's file calls itself.
pub const APPLICATION_ID: i64 = 0x464C_4950;

/// Version of the tables.
pub const FORMAT: i64 = 1;

/// Numbers of layers, images and outcomes are those of the tables beside; detectors are 0 `none`, 1
/// `range`. A float that isn't a number is NULL.
pub const TABLES: &str = "
CREATE TABLE manifest (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE layers (
    layer INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    pair_key TEXT NOT NULL,
    kind TEXT NOT NULL,
    part TEXT NOT NULL,
    shape TEXT NOT NULL,
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
