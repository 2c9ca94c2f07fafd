//! A campaign's store: what is kept, resumed, merged, refused.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use flipside::Result;
use flipside::campaign::Ending;
use flipside::plan::Shard;
use flipside::results::{Manifest, Sink, Store, Work, merge};

use super::*;

impl Bench {
    fn manifest(&self, plan: Plan) -> Manifest {
        self.campaign(plan).manifest()
    }

    /// Runs a part of a plan into a store, new or old; stops after `limit` handfuls.
    pub(super) fn part(
        &self,
        path: &Path,
        plan: &Plan,
        shard: Shard,
        limit: usize,
        strategy: Strategy,
    ) -> Ending {
        let campaign = self.campaign(plan.clone());
        let manifest = campaign.manifest();
        let (store, work) = if path.exists() {
            Store::resume(path, &manifest, shard).unwrap()
        } else {
            let store = Store::create(path, &manifest, shard).unwrap();
            (store, Work { shard, ..Work::whole() })
        };
        let stop = AtomicBool::new(false);
        let few = Few { store: &store, left: AtomicUsize::new(limit), stop: &stop };
        let ending = campaign.run_part(strategy, &work, &few, &Silent, &stop).unwrap();
        store.finish(ending == Ending::Complete).unwrap();
        ending
    }
}

/// Stops a run after some handfuls of records.
struct Few<'f> {
    store: &'f Store,
    left: AtomicUsize,
    stop: &'f AtomicBool,
}

impl Sink for Few<'_> {
    fn take(&self, records: &[Record]) -> Result<()> {
        if self.left.fetch_sub(1, Ordering::Relaxed) <= 1 {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.store.take(records)
    }
}

fn open_error(path: &Path) -> String {
    Run::open(path).unwrap_err().to_string()
}

#[test]
fn runs_are_kept_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let run = Bench::new(GUIDED).run(Plan::new(6, 40));
    run.save(&path).unwrap();
    let back = Run::open(&path).unwrap();
    assert_eq!(text(&back.records), text(&run.records));
    assert_eq!(back.manifest, run.manifest);
    assert_eq!(back.results_sha256(), run.results_sha256());
    let again = run.save(&path).unwrap_err().to_string();
    assert!(again.contains("run.sqlite is there already"), "{again}");
    // One file, whole.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// One go, one thread, whole nodes by one and by 32, stopped again and again, seven shards merged in
/// several orders: the same rows.
#[test]
fn however_it_is_run_the_results_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(format!("{name}.sqlite"));
    let bench = Bench::new(GUIDED);
    let plan = Plan::new(6, 70);
    let expected = bench.run(plan.clone()).results_sha256();
    let hash = |path: &Path| Run::open(path).unwrap().results_sha256();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();

    one.install(|| bench.part(&at("one"), &plan, Shard::WHOLE, usize::MAX, Strategy::Boxes));
    assert_eq!(hash(&at("one")), expected, "one thread");
    for batch in [1, 32] {
        let path = at(&format!("batch-{batch}"));
        bench.part(&path, &plan, Shard::WHOLE, usize::MAX, Strategy::Whole { batch });
        assert_eq!(hash(&path), expected, "batches of {batch}");
    }

    let path = at("stopped");
    let mut stops = 0;
    while bench.part(&path, &plan, Shard::WHOLE, 1 + stops % 3, Strategy::Boxes) == Ending::Stopped
    {
        stops += 1;
        assert!(open_error(&path).contains("isn't finished: `flipside inject --resume "));
    }
    assert!(stops > 3, "{stops}");
    assert_eq!(hash(&path), expected, "stopped {stops} times");
    // Nothing is left to do.
    bench.part(&path, &plan, Shard::WHOLE, usize::MAX, Strategy::Boxes);
    assert_eq!(hash(&path), expected);

    let shards: Vec<PathBuf> = (1..=7).map(|index| at(&format!("shard-{index}"))).collect();
    for (path, index) in shards.iter().zip(1..) {
        bench.part(path, &plan, Shard { index, of: 7 }, usize::MAX, Strategy::Boxes);
    }
    assert!(open_error(&shards[2]).contains("of 7 shards it lacks 1, 2, 4, 5, 6, 7"));
    assert_eq!(merge(&shards, &at("all")).unwrap(), (7, 7));
    assert_eq!(hash(&at("all")), expected, "merged");
    let backwards: Vec<PathBuf> = shards.iter().rev().cloned().collect();
    merge(&backwards, &at("backwards")).unwrap();
    assert_eq!(hash(&at("backwards")), expected, "merged backwards");
    // (a + (b + c)) + the rest = ((a + b) + c) + the rest, to the last byte of what is exported.
    merge(&shards[1..3], &at("bc")).unwrap();
    assert_eq!(merge(&[shards[0].clone(), at("bc")], &at("a-bc")).unwrap(), (3, 7));
    let rest = |first: &Path| [vec![first.to_path_buf()], shards[3..].to_vec()].concat();
    merge(&rest(&at("a-bc")), &at("nested")).unwrap();
    let bytes = |path: &Path| {
        let (run, [mut csv, mut parquet]) = (Run::open(path).unwrap(), [Vec::new(), Vec::new()]);
        flipside::results::write_csv(&run, &mut csv).unwrap();
        flipside::results::write_parquet(&run, &mut parquet).unwrap();
        [csv, parquet]
    };
    assert_eq!(bytes(&at("nested")), bytes(&at("one")));
}

/// One bit of one record, whichever field it is in, makes another hash.
#[test]
fn a_hash_of_results_holds_every_field() {
    let run = Bench::new(Head::Baseline).run(Plan::new(3, 2));
    let expected = run.results_sha256();
    fn next(value: f64) -> f64 {
        f64::from_bits(value.to_bits() ^ 1)
    }
    type Change = fn(&mut Record);
    let changes: [(&str, Change); 16] = [
        ("layer", |r| r.layer -= 1),
        ("n", |r| r.n ^= 1),
        ("detector", |r| r.detector = Detector::None),
        ("image", |r| r.image ^= 1),
        ("flips", |r| r.flips ^= 1),
        ("element", |r| r.place.as_mut().unwrap().element ^= 1),
        ("mask", |r| r.place.as_mut().unwrap().mask ^= 1),
        ("before", |r| r.place.as_mut().unwrap().values.as_mut().unwrap().before ^= 1),
        ("after", |r| r.place.as_mut().unwrap().values.as_mut().unwrap().after ^= 1),
        ("seen", |r| r.place.as_mut().unwrap().values.as_mut().unwrap().seen ^= 1),
        ("golden loss", |r| r.golden.loss = next(r.golden.loss)),
        ("top-1", |r| r.effect.score.top1 ^= 1),
        ("loss", |r| r.effect.score.loss = next(r.effect.score.loss)),
        ("p of the label", |r| r.effect.score.p_label = next(r.effect.score.p_label)),
        ("outcome", |r| r.effect.outcome = Outcome::Sdc),
        ("logits", |r| r.effect.hash ^= 1),
    ];
    // One whose fields aren't what they are changed to already.
    let is_plain = |r: &Record| r.layer > 0 && r.detector == Detector::Range;
    let at = run.records.iter().position(|r| {
        is_plain(r) && r.effect.outcome == Outcome::Benign && r.effect.score.loss.is_finite()
    });
    for (field, change) in changes {
        let mut records = run.records.clone();
        change(&mut records[at.unwrap()]);
        let changed = Run { records, ..run.clone() };
        assert_ne!(changed.results_sha256(), expected, "{field}");
    }
}

#[test]
fn shards_that_don_t_belong_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(format!("{name}.sqlite"));
    let bench = Bench::new(Head::Baseline);
    let plan = Plan::new(6, 6);
    let run = |name: &str, plan: &Plan, index, of, limit| {
        bench.part(&at(name), plan, Shard { index, of }, limit, Strategy::Boxes);
    };
    run("a", &plan, 1, 3, usize::MAX);
    run("b", &plan, 2, 3, usize::MAX);
    run("half", &plan, 1, 2, usize::MAX);
    run("seed", &Plan::new(7, 6), 2, 3, usize::MAX);
    run("stopped", &plan, 3, 3, 1);
    let refused = |names: &[&str], parts: &[&str]| {
        let paths: Vec<PathBuf> = names.iter().map(|name| at(name)).collect();
        let error = merge(&paths, &at("out")).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        assert!(!at("out").exists());
    };
    refused(&["a", "half"], &["half.sqlite holds shard 1/2", "a.sqlite shard 1/3"]);
    refused(&["a", "b", "a"], &["both hold shard 1/3"]);
    refused(&["a", "seed"], &["can't be merged", "'seed' (6 and 7)"]);
    refused(&["a", "stopped"], &["stopped.sqlite", "isn't finished"]);
    refused(&["a", "nowhere"], &["nowhere.sqlite", "No such file"]);
    std::fs::write(at("there"), "").unwrap();
    let error = merge(&[at("a"), at("b")], &at("there")).unwrap_err().to_string();
    assert!(error.contains("there already"), "{error}");
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 6, "no temporary file is left");
}

#[test]
fn another_campaign_isn_t_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let bench = Bench::new(Head::Baseline);
    let plan = Plan::new(6, 6);
    bench.part(&path, &plan, Shard::WHOLE, 1, Strategy::Boxes);
    let refused = |manifest: &Manifest, shard: Shard, part: &str| {
        let error = Store::resume(&path, manifest, shard).err().unwrap().to_string();
        assert!(error.contains("run.sqlite") && error.contains(part), "{error}");
    };
    let half = Shard { index: 1, of: 2 };
    refused(&bench.manifest(plan.clone()), half, "holds shard 1/1, not 1/2");
    refused(&bench.manifest(Plan::new(6, 7)), Shard::WHOLE, "'injections'");
    refused(&bench.manifest(Plan { bits: 2, ..plan.clone() }), Shard::WHOLE, "'bits' (1 and 2)");
    let mut other = bench.manifest(plan.clone());
    other.setting.provenance.checkpoint = "def".into();
    refused(&other, Shard::WHOLE, "their checkpoints differ (abc and def)");
    let mut other = bench.manifest(plan.clone());
    other.images[0].hash ^= 1;
    refused(&other, Shard::WHOLE, "their fault-free answers differ");
    let mut other = bench.manifest(plan.clone());
    other.setting.version = "9.9".into();
    refused(&other, Shard::WHOLE, "versions");
    // And it is still there.
    bench.part(&path, &plan, Shard::WHOLE, usize::MAX, Strategy::Boxes);
    assert_eq!(Run::open(&path).unwrap().records.len(), bench.records(plan).len());
}

#[test]
fn one_process_writes_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let bench = Bench::new(Head::Baseline);
    let manifest = bench.manifest(Plan::new(6, 6));
    let store = Store::create(&path, &manifest, Shard::WHOLE).unwrap();
    let error = Store::resume(&path, &manifest, Shard::WHOLE).err().unwrap().to_string();
    assert!(error.contains("in use by another process"), "{error}");
    drop(store);
    Store::resume(&path, &manifest, Shard::WHOLE).unwrap();
}

#[test]
fn damaged_stores_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    Bench::new(Head::Baseline).run(Plan::new(6, 5)).save(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    let damaged = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = open_error(&path);
        assert!(error.contains("run.sqlite"), "{error}");
        error
    };
    assert!(damaged(b"").contains("is empty"));
    assert!(damaged(&[7; 5000]).contains("isn't a campaign's store"));
    damaged(&whole[..whole.len() / 2]);
    damaged(&whole[..4096]);
    // Whatever byte is hit, it is an error or a run, not a panic.
    let mut draws = rng::stream(1, "damage");
    for _ in 0..300 {
        let mut bytes = whole.clone();
        for _ in 0..8 {
            let at = draws.below(bytes.len() as u64) as usize;
            bytes[at] = draws.next_u64() as u8;
        }
        fs::write(&path, &bytes).unwrap();
        let _ = Run::open(&path);
    }
    // Tables that another program changed.
    let changed = |sql: &str| {
        fs::write(&path, &whole).unwrap();
        rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        open_error(&path)
    };
    assert!(changed("DELETE FROM manifest WHERE key = 'plan'").contains("plan"));
    assert!(
        changed("UPDATE injections SET layer = 99 WHERE layer = 0")
            .contains("there is no layer 99")
    );
    assert!(changed("UPDATE injections SET image = 77").contains("there is no image 77"));
    assert!(changed("UPDATE injections SET outcome = 'x'").contains("unknown outcome 'x'"));
    assert!(changed("UPDATE injections SET site = 'x'").contains("unknown fault site 'x'"));
    assert!(changed("PRAGMA user_version = 9").contains("format 9"));
    assert!(changed("PRAGMA application_id = 9").contains("isn't a campaign's store"));
    assert!(changed("DROP TABLE images").contains("images"));
    assert!(open_error(folder.path()).contains("is a folder"));
    assert!(open_error(&folder.path().join("no")).contains("No such file"));
}

/// A batch that fails leaves nothing of itself, not even the half of an injection, and nothing is written
/// behind it.
#[test]
fn a_batch_that_fails_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    let bench = Bench::new(Head::Baseline);
    let plan = Plan::new(6, 6);
    let (manifest, records) = (bench.manifest(plan.clone()), bench.records(plan.clone()));
    let store = Store::create(&path, &manifest, Shard::WHOLE).unwrap();
    store.take(&records[..4]).unwrap();
    assert_eq!(store.records(&manifest).unwrap().len(), 4);
    // The second is there already: the first, half of an injection, must go with it.
    store.take(&[records[4], records[0]]).unwrap();
    let first = store.records(&manifest).unwrap_err().to_string();
    assert!(first.contains("run.sqlite") && first.contains("UNIQUE"), "{first}");
    assert_eq!(store.take(&records[6..8]).unwrap_err().to_string(), first);
    assert_eq!(store.finish(true).unwrap_err().to_string(), first);
    let (store, work) = Store::resume(&path, &manifest, Shard::WHOLE).unwrap();
    assert_eq!(work.done.len(), 2);
    drop(store);
    assert!(open_error(&path).contains("isn't finished"));
    bench.part(&path, &plan, Shard::WHOLE, usize::MAX, Strategy::Boxes);
    assert_eq!(Run::open(&path).unwrap().results_sha256(), bench.run(plan).results_sha256());
}

/// A sink's error is the run's.
#[test]
fn a_sink_that_fails_ends_the_run() {
    struct Full(Mutex<usize>);
    impl Sink for Full {
        fn take(&self, _: &[Record]) -> Result<()> {
            *self.0.lock().unwrap() += 1;
            Err(Error::usage("the disk is full"))
        }
    }
    let bench = Bench::new(Head::Baseline);
    let campaign = bench.campaign(Plan::new(6, 40));
    for strategy in [Strategy::Boxes, Strategy::Whole { batch: 4 }] {
        let (full, stop) = (Full(Mutex::default()), AtomicBool::new(false));
        let ended = campaign.run_part(strategy, &Work::whole(), &full, &Silent, &stop);
        assert!(ended.unwrap_err().to_string().contains("disk is full"));
    }
}
