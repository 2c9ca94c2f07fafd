//! `flipside cite`: every number against the store's, what LaTeX takes, and what is refused.

use flipside::analysis::{Intervals, Scope, select};
use flipside::detector::Detector;
use flipside::results::{Measure, Outcome};

use super::*;

/// The quantile of a two-sided 95 %: scipy.stats.norm.ppf(0.975).
const Z95: f64 = 1.959963984540054;

/// A network whose name LaTeX would trip over, two checkpoints of it, and a campaign on each.
fn campaigns(place: &Place) {
    fs::copy(place.at("tiny.toml"), place.at("my_net_50%.toml")).unwrap();
    let train = "train --model my_net_50%.toml --data data --quiet";
    place.done(&format!("{train} --out a"));
    place.done(&format!("{train} --seed 2 --out b"));
    let inject = "inject --data data --quiet --injections 40";
    for (own, other) in [("a", "b"), ("b", "a")] {
        place.done(&format!(
            "{inject} --checkpoint {own}/model.safetensors --right-in {other}/model.safetensors \
             --model my_net_50%.toml --out {own}.sqlite"
        ));
    }
    place.done(&format!(
        "{inject} --checkpoint a/model.safetensors --model my_net_50%.toml --seed 3 --out unlike.sqlite"
    ));
}

fn has(text: &str, parts: &[String]) {
    for part in parts {
        assert!(text.contains(part.as_str()), "no '{part}' in: {text}");
    }
}

/// The sentences of one run, each number of which is the store's.
#[test]
fn the_paragraph_has_the_numbers_of_the_store() {
    let place = Place::new();
    campaigns(&place);
    let run = Run::open(&place.at("a.sqlite")).unwrap();
    let (setting, plan) = (&run.manifest.setting, &run.manifest.plan);
    let provenance = &setting.provenance;
    let layers = &run.manifest.layers;
    let images = run.manifest.images.len() as u64;
    let neurons = layers.iter().map(|row| row.shape.iter().product::<usize>() as u64);
    let faults = |neurons: u64| neurons * 32 * images;
    let (least, most) = (neurons.clone().min().unwrap(), neurons.clone().max().unwrap());
    let total: u64 = neurons.map(faults).sum();
    let injections = 40 * layers.len();
    let points = |n: f64| 100.0 * Z95 * (0.25 / n).sqrt();
    let said = place.json("cite a.sqlite");
    let methods = said["methods"].as_str().unwrap();
    // All faults are many more than were drawn, so that nothing is corrected; not those of the last layer.
    assert!(total > 20 * injections as u64 && faults(least) < 20 * 40);
    has(
        methods,
        &[
            format!("(version {}, commit {})", setting.version, setting.commit),
            format!(
                "The network is my_net_50% with the baseline head, of {} classes and inputs of 16 × 16 pixels.",
                setting.classes
            ),
            "one bit of an output of a layer (before batch norm and activation) flips".into(),
            format!(
                "all {} layers; the population of a layer is values × bits × images ({least} to {most} values, 32 bits \
                 each, {images} images), {} to {} faults a layer, {total} in all.",
                layers.len(),
                faults(least),
                faults(most),
            ),
            format!(
                "classifies {} of {} evaluated images correctly ({:.2} %; fingerprint of the data: {}); the faults hit \
                 {images} of these.",
                provenance.right,
                provenance.evaluated,
                100.0 * provenance.right as f64 / provenance.evaluated as f64,
                provenance.data
            ),
            format!(
                "There are 40 injections a layer, {injections} in all, each judged under 2 detectors ({} records).",
                run.records.len()
            ),
            format!(
                "within ±{:.2} percentage points at 95 % confidence, and one over the {} layers of the network \
                 ({injections} injections) within ±{:.2} percentage points",
                points(40.0),
                layers.len(),
                points(injections as f64)
            ),
            "By the strict protocol".into(),
            "under the detectors none (".into(),
            format!("over {} training images", setting.ranges_over.as_ref().unwrap().images),
            "Wilson intervals (Wilson, 1927) of 95 %".into(),
            format!("drawn from seed {}.", plan.seed),
            format!("on the device {} (exact arithmetic, ", setting.device),
            format!(
                "The SHA-256 are: checkpoint {}, list of images {}, results {}.",
                provenance.checkpoint,
                setting.image_list,
                run.results_sha256()
            ),
        ],
    );
    assert_eq!(said["runs"][0]["sample"]["injections_in_all"], injections);
    // Where words cite, an entry stands, and none else.
    let bibtex = said["bibtex"].as_str().unwrap();
    let keys = ["flipside", "wasim2023hardware", "leveugle2009statistical", "wilson1927probable"];
    assert_eq!(bibtex.matches("\n@").count() + 1, keys.len(), "{bibtex}");
    for key in keys {
        assert!(said["methods_latex"].as_str().unwrap().contains(&format!("\\cite{{{key}}}")));
        assert!(bibtex.contains(&format!("{{{key},\n")), "{bibtex}");
    }
    has(
        bibtex,
        &["  author = {{The Flipside authors}},".into(), format!("version {}", setting.version)],
    );
    let caveats = said["caveats"].to_string();
    has(
        &caveats,
        &[
            "the network is one checkpoint".into(),
            format!("The faults hit {images} images, fewer than 100"),
            "No layer has the 384 injections".into(),
            "No fault hits a weight.".into(),
            "ran on a CPU, not on a GPU".into(),
            "No record was run again".into(),
            "More than 5 % of the possible faults of a layer were drawn".into(),
        ],
    );
    let first = run.manifest.images[0].label;
    let is_one_class = run.manifest.images.iter().all(|row| row.label == first);
    assert_eq!(caveats.contains("of one class of 2"), is_one_class, "{caveats}");
    assert!(!caveats.contains("NaN loss"), "{caveats}");

    // At another confidence, with other intervals.
    let said =
        place.done("cite a.sqlite --only methods --confidence 0.99 --interval clopper-pearson");
    // scipy.stats.norm.ppf(0.995)
    let margin = 100.0 * 2.5758293035489004 * (0.25f64 / 40.0).sqrt();
    has(
        &said,
        &[
            format!("$\\pm${margin:.2} percentage"),
            "Clopper-Pearson intervals~\\cite{clopper1934use} of 99 \\%".into(),
            "my\\_net\\_50\\% with".into(),
        ],
    );
}

/// A table has the figures of `report` and `compare`; what LaTeX would trip over is escaped.
#[test]
fn tables_have_the_figures_of_the_comparison() {
    let place = Place::new();
    campaigns(&place);
    let table = place.done("cite a.sqlite b.sqlite --only table");
    let run = Run::open(&place.at("a.sqlite")).unwrap();
    let how = Intervals::default();
    let selection = || select(&run, Scope::ALL.layers(&run), Detector::None);
    let sdc = selection().rates(&how).sdc.times(100.0);
    let cell = format!("{:.2} [{:.2}, {:.2}]", sdc.value, sdc.low, sdc.high);
    assert_eq!(selection().mean(Measure::Is(Outcome::Sdc), &how).unwrap().times(100.0), sdc);
    let rows: Vec<&str> = table.lines().filter(|line| line.ends_with("\\\\")).collect();
    let [head, first, second] = rows[..] else { panic!("{table}") };
    assert!(head.starts_with("run & images & injections a layer & SDC, \\% &"), "{head}");
    let checkpoint = &run.manifest.setting.provenance.checkpoint[..6];
    let start = format!(
        "my\\_net\\_50\\% baseline {checkpoint} & {} & 40 & {cell} &",
        run.manifest.images.len()
    );
    assert!(
        first.starts_with(&start) && first.ends_with("& -- & -- & -- \\\\"),
        "{start} in {first}"
    );
    let compared = place.json("compare a.sqlite b.sqlite");
    let ratio =
        compared["rows"][0]["overall"][0]["improvement"]["ratio"]["value"].as_f64().unwrap();
    assert!(second.contains(&format!("& {ratio:.2}")), "{ratio} in {second}");
    assert_eq!(first.matches(" & ").count(), second.matches(" & ").count());

    // Faults of another seed: said, not failed; by itself it can be compared.
    let table = place.done("cite a.sqlite unlike.sqlite --only table");
    let comment = table.lines().find(|line| line.contains("isn't compared with"));
    assert!(comment.is_some_and(|line| line.starts_with("% ") && line.contains("seed")), "{table}");
    let table = place.done("cite a.sqlite unlike.sqlite --only table --unpaired");
    assert!(!table.contains("isn't compared with"), "{table}");
    assert!(place.done("cite a.sqlite unlike.sqlite --only caveats").contains("can't be compared"));

    // GoldenEye's protocol has its own reference and intervals; which others have no place there.
    place.done(
        "inject --model my_net_50%.toml --checkpoint a/model.safetensors --data data --quiet --injections 20 \
         --protocol goldeneye --out g.sqlite",
    );
    let said = place.json("cite g.sqlite");
    let (bibtex, methods) = (said["bibtex"].as_str().unwrap(), said["methods"].as_str().unwrap());
    assert!(
        bibtex.contains("{mahmoud2022goldeneye,") && !bibtex.contains("{wilson1927"),
        "{bibtex}"
    );
    // 2.5758293035489004·√(0.25/20)
    assert!(methods.contains("within ±28.80 percentage points at 99 % confidence"), "{methods}");
    assert!(said["caveats"].to_string().contains("Every answer is under the detector range"));
    place.fails("cite a.sqlite g.sqlite", 2, &["no figure in common"]);
    place.fails("cite g.sqlite --unit injections", 2, &["GoldenEye's protocol", "99 %"]);
}

#[test]
fn what_can_t_be_cited_is_refused() {
    let place = Place::new();
    campaigns(&place);
    let inject =
        "inject --model my_net_50%.toml --checkpoint a/model.safetensors --data data --quiet";
    place.done(&format!("{inject} --injections 20 --shard 1/2 --out part.sqlite"));
    place.fails("cite part.sqlite", 1, &["part.sqlite", "of 2 shards it lacks 2"]);
    place.done(&format!("{inject} --exhaustive last-layer --out census.sqlite"));
    place.fails("cite census.sqlite", 1, &["census.sqlite: holds no campaign", "--exhaustive"]);
    place.done(&format!("{inject} --exhaustive last-layer --out b.sqlite").replace("a/", "b/"));
    let said = place.done("cite b.sqlite --only caveats");
    assert!(said.contains("also holds a census of last-layer"), "{said}");
    place.fails("cite data", 1, &["data: holds no study that is over"]);
    place.fails("cite a.sqlite data", 1, &["data: is a folder"]);
    place.fails("cite tiny.toml", 1, &["tiny.toml"]);
    place.fails("cite nowhere", 1, &["nowhere"]);
    place.fails("cite a.sqlite --unpaired", 2, &["--unpaired has no effect on a single run"]);
    place.fails("cite a.sqlite --only caveats --unit images", 2, &["--unit has no effect"]);
    // A list is no sample; two bits have pairs.
    place.done("export a.sqlite --out a.csv");
    place.done(&format!("{inject} --faults a.csv --out list.sqlite"));
    let said = place.json("cite list.sqlite");
    assert!(
        said["methods"].as_str().unwrap().contains("The faults are those of a list (SHA-256: ")
    );
    assert!(!said["bibtex"].to_string().contains("leveugle"), "{said}");
    place.done(&format!("{inject} --injections 20 --bits 2 --layer fc --out bits.sqlite"));
    let run = Run::open(&place.at("bits.sqlite")).unwrap();
    let faults = run.manifest.layers[0].shape[0] * 496 * run.manifest.images.len();
    let said = place.json("cite bits.sqlite");
    let methods = said["methods"].as_str().unwrap();
    assert!(methods.contains(&format!("{faults} faults a layer")), "{methods}");
    assert!(methods.contains("in which 2 bits of an output"), "{methods}");
    assert!(said["caveats"].to_string().contains("over the layers that were chosen"), "{said}");
}
