//! Lists of faults as others write them: exports of every kind of campaign, pandas, spreadsheets; and what is
//! wrong with a list.

use std::path::{Path, PathBuf};

use flipside::campaign::FaultList;
use flipside::fault::Site;
use flipside::number::Compute;
use flipside::plan::Stratify;
use flipside::results::write_csv;
use flipside::tape::Node;
use strum::IntoEnumIterator;

use super::*;

/// A folder with a file in it.
struct File {
    folder: tempfile::TempDir,
}

impl File {
    fn new() -> File {
        File { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("faults.csv")
    }

    fn with(&self, bytes: impl AsRef<[u8]>) -> flipside::Result<FaultList> {
        fs::write(self.path(), bytes).unwrap();
        FaultList::open(&self.path())
    }
}

fn fixture(name: &str) -> PathBuf {
    crate::root().join("tests/fixtures/fault_lists").join(name)
}

/// The campaign of a list, by a plan's detectors.
fn of_list(bench: &Bench, list: &FaultList, plan: Plan) -> flipside::Result<Run> {
    let plan = Plan { injections: 0..list.len() as u64, list: Some(list.sha256.clone()), ..plan };
    let campaign = Campaign::of_list(bench, plan, list)?;
    let records = campaign.run(campaign.best_strategy(), &Silent)?;
    Ok(campaign.results(records))
}

fn run(bench: &Bench, plan: Plan) -> Run {
    let campaign = bench.campaign(plan);
    let records = campaign.run(campaign.best_strategy(), &Silent).unwrap();
    campaign.results(records)
}

fn export(run: &Run) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_csv(run, &mut bytes).unwrap();
    bytes
}

/// Rows of an export, less the numbers of injections, which a list has its own of.
fn rows(run: &Run) -> Vec<Vec<String>> {
    let bytes = export(run);
    let mut reader = csv::Reader::from_reader(&*bytes);
    let number = reader.headers().unwrap().iter().position(|name| name == "injection").unwrap();
    let row = |record: csv::StringRecord| {
        let cells = record.iter().enumerate().filter(|(at, _)| *at != number);
        cells.map(|(_, cell)| cell.to_string()).collect()
    };
    reader.records().map(|record| row(record.unwrap())).collect()
}

/// An export is a list of the faults of its records: the same faults, the same rows.
fn assert_repeats(bench: &Bench, run: &Run) {
    let list = File::new().with(export(run)).unwrap();
    let detectors = run.manifest.plan.detectors.clone();
    assert_eq!(list.len() * detectors.len(), run.records.len());
    let again = of_list(bench, &list, Plan { detectors, ..Plan::new(1, 1) }).unwrap();
    assert_eq!(rows(&again), rows(run));
}

#[test]
fn an_export_repeats_its_campaign() {
    let bench = Bench::new(GUIDED);
    for bits in [1, 3] {
        assert_repeats(&bench, &run(&bench, Plan { bits, ..Plan::new(4, 8) }));
        let plan = Plan { bits, site: Site::Weight, ..Plan::new(4, 4) };
        assert_repeats(&bench, &run(&bench, plan));
    }
    assert_repeats(&bench, &run(&bench, Plan { stratify: Stratify::Bit, ..Plan::new(4, 32) }));
    let plain = |site| Plan { site, detectors: vec![Detector::None], ..Plan::new(4, 8) };
    for site in [Site::Input, Site::StoreLost] {
        assert_repeats(&bench, &run(&bench, plain(site)));
    }
}

/// Inside kernels, in every format: bits have one numbering.
#[test]
fn an_export_of_operands_repeats_its_campaign() {
    for compute in Compute::iter() {
        let bench = Bench::on(GUIDED, &device().with_compute(compute).unwrap());
        for site in
            [Site::Accumulator, Site::OperandA, Site::OperandB, Site::SharedA, Site::SharedB]
        {
            let plan = Plan { site, bits: 2, detectors: vec![Detector::None], ..Plan::new(4, 3) };
            assert_repeats(&bench, &run(&bench, plan));
        }
    }
}

/// Values that were set are told by what came of them.
#[test]
fn an_export_of_values_repeats_its_campaign() {
    let bench = Bench::new(GUIDED);
    let list = "layer,site,image,channel,row,column,parameter,index,model,value,seed,bit\n\
                conv1,output,0,1,2,3,,,set,7.5,,\n\
                conv1,output,1,2,2,3,,,random,,3,\n\
                conv1,output,3,3,2,3,,,stuck-at-1,,,30+23\n\
                conv1,weight,3,,,,,17,set,nan,,\n\
                bn1,weight,4,,,,running_var,2,set,0,,\n\
                layer1.0.conv1,input,4,1,2,3,,,set,-inf,,\n";
    let list = File::new().with(list).unwrap();
    let plan = Plan { detectors: vec![Detector::None], ..Plan::new(1, 1) };
    assert_repeats(&bench, &of_list(&bench, &list, plan).unwrap());
}

/// A network with attention.
const SWIN: &str = r#"
family = "swin_v2"

[architecture]
patch = 4
width = 16
stages = [1, 1]
heads = [2, 4]
window = 2
mlp_ratio = 2.0
stochastic_depth = 0.0

[input]
size = 16
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]

[recipe]
epochs = 1
batch = 8
learning_rate = 0.1
schedule = { kind = "cosine" }
"#;

/// Attention's elements lie in no map: an export has their numbers alone.
#[test]
fn an_export_of_attention_repeats_its_list() {
    let bench = Bench::of(SWIN, Head::Baseline, &device());
    let nodes = bench.network.model.tape.nodes();
    let is_attention = |node: &&Node| node.op.as_ref().is_some_and(|op| op.kind() == "attention");
    let node = nodes.iter().find(is_attention).unwrap();
    let mut text = "layer,site,image,head,row,column,key,bit\n".to_string();
    for (n, site) in ["scores", "probabilities", "scores"].iter().enumerate() {
        let name = &node.name;
        text += &format!("{name},{site},{},1,{n},3,{n},{}\n", bench.goldens[n].image, 29 + n);
    }
    let list = File::new().with(text).unwrap();
    let plan = Plan { detectors: vec![Detector::None], ..Plan::new(1, 1) };
    let run = of_list(&bench, &list, plan).unwrap();
    assert!(run.records.iter().any(|record| record.effect.outcome != Outcome::Masked));
    assert_repeats(&bench, &run);
}

/// What pandas makes of an export, and of a table with empty cells, in the forms that spreadsheets write, too.
#[test]
fn lists_of_pandas_are_read() {
    let bench = Bench::new(Head::Baseline);
    let exported = run(&bench, Plan::new(6, 3));
    if let Some(path) = std::env::var_os("FLIPSIDE_KEEP_EXPORT") {
        fs::write(path, export(&exported)).unwrap();
    }
    for name in ["export.csv", "export_elements.csv"] {
        let list = FaultList::open(&fixture(name)).unwrap();
        let again = of_list(&bench, &list, Plan::new(1, 1)).unwrap();
        assert_eq!(rows(&again), rows(&exported), "{name}");
    }
    let list = FaultList::open(&fixture("export.csv")).unwrap();
    let notes = list.notes().join("\n");
    for part in ["an index", "label, before", "21 rows are of the same injections"] {
        assert!(notes.contains(part), "{part}: {notes}");
    }

    let plan = || Plan { detectors: vec![Detector::None], ..Plan::new(1, 1) };
    let by_hand = "layer,site,image,channel,row,column,index,bit,model,value\n\
                   conv1,output,0,3,2,5,,30,,\n\
                   conv1,weight,3,,,,65,29,,\n\
                   layer1.0.conv2,input,1,2,7,1,,22,,\n\
                   conv1,weight,4,,,,17,30,,\n\
                   fc,output,5,6,0,0,,,set,7.5\n";
    let expected = of_list(&bench, &File::new().with(by_hand).unwrap(), plan()).unwrap();
    for name in ["mixed.csv", "mixed_semicolons.csv", "mixed_tabs.csv", "mixed_again.csv"] {
        let list = FaultList::open(&fixture(name)).unwrap();
        assert_eq!(rows(&of_list(&bench, &list, plan()).unwrap()), rows(&expected), "{name}");
    }
}

/// Rows of two campaigns in one file are all of them faults.
#[test]
fn equal_numbers_of_injections_are_no_repetition() {
    let bench = Bench::new(Head::Baseline);
    let texts = [6, 7].map(|seed| {
        let run = run(&bench, Plan { layers: Some(vec!["fc".into()]), ..Plan::new(seed, 4) });
        String::from_utf8(export(&run)).unwrap()
    });
    let (_, second) = texts[1].split_once('\n').unwrap();
    let both = File::new().with(format!("{}{second}", texts[0])).unwrap();
    assert_eq!(both.len(), 8);
    // The same faults twice under one detector are two.
    let (_, first) = texts[0].split_once('\n').unwrap();
    assert_eq!(File::new().with(format!("{}{first}", texts[0])).unwrap().len(), 8);
}

#[test]
fn what_is_wrong_with_a_list_is_named() {
    let bench = Bench::new(GUIDED);
    let file = File::new();
    let says = |text: &[u8], parts: &[&str]| {
        let error = match file.with(text) {
            Err(error) => error,
            Ok(list) => of_list(&bench, &list, Plan::new(5, 10)).expect_err(&format!("{parts:?}")),
        };
        let error = error.to_string();
        assert!(error.contains("faults.csv"), "{error}");
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?}: {error}");
    };
    let wrong: &[(&str, &[&str])] = &[
        ("", &["holds no fault"]),
        ("layer,image,bit\n", &["holds no fault"]),
        ("layer,image,bit\n,,\n", &["holds no fault"]),
        ("layer,image,channel,bit\nconv1,0,0,40\n", &["line 2", "0 to 31"]),
        ("layer,image,bit,channel,hue\nconv1,0,4,1,1\n", &["'hue' isn't understood", "channel"]),
        ("layer,image,bit,channel,hue\nconv1,0,4,1,\n", &["'hue' isn't understood"]),
        ("layer,image,bit,Channel\nconv1,0,4,1\n", &["'Channel' isn't understood"]),
        ("layer,image,bit,channel,\nconv1,0,4,1,5\n", &["column 5 has cells but no name"]),
        (",layer,image,bit,channel\nx,conv1,0,4,1\n", &["column 1 has cells but no name"]),
        ("layer,image,bit,bit,channel\nconv1,0,4,4,1\n", &["'bit' is there twice"]),
        ("layer,image,bit\nconv1\n", &["isn't a list of faults"]),
        // Quotation marks that would swallow rows.
        (
            "layer,image,channel,bit,label\nconv1,0,1,4,\"a\nconv1,0,1,5,b\n",
            &["line 2", "quotation"],
        ),
        ("layer,image,channel,bit,label\nconv1,0,1,4,\"\nfc,0,1,5,\"\n", &["line 2", "quotation"]),
        ("layer;image,bit;channel\nconv1;0,3;1\n", &["can't be told"]),
        ("layer,bit,channel\nconv1,4,1\n", &["no column 'image'"]),
        ("image,bit,channel\n0,4,1\n", &["no column 'layer'"]),
        ("layer,image,bit,channel\nconv1,,4,1\n", &["line 2", "image is empty"]),
        ("layer,image,bit,channel,row\nconv1,0,4,1,\n", &["line 2", "row is empty"]),
        ("layer,image,bit,channel,column\nconv1,0,4,1,\n", &["line 2", "column is empty"]),
        ("layer,image,channel,model,seed\nconv1,0,1,random,\n", &["line 2", "seed is empty"]),
        ("layer,image,bit,channel\n,0,4,1\n", &["line 2", "layer is missing"]),
        ("layer,image,bit,channel\nconv1,0,4,1\nconv1,0,4,9\n", &["line 3", "channel 9"]),
        ("layer,image,channel,bit\nconv77,0,0,4\n", &["line 2", "conv77"]),
        ("layer,channel,image,bit\nconv1,0,2,4\n", &["line 2", "no image 2"]),
        ("layer,channel,image,bit\nconv1,0,0.5,4\n", &["line 2", "image takes a whole number"]),
        ("layer,channel,image,bit\nconv1,0,4294967296,4\n", &["line 2", "to 4294967295"]),
        ("layer,channel,image,bit\n\"conv1,bit=3\",0,0,4\n", &["line 2", "no layer 'conv1,bit=3'"]),
        ("layer,image,site,bit,index,parameter\nbn1,0,weight,4,0,colour\n", &["bn1.colour"]),
        ("layer,image,site,bit,index\nconv1,0,weight,4,999\n", &["line 2", "none of index 999"]),
        ("layer,image,site,bit,index\nconv1,0,weight,4,\n", &["line 2", "out is missing"]),
        ("layer,image,site,bit,channel\nconv1,0,weight,4,1\n", &["line 2", "takes layer, site"]),
        ("layer,image,site,channel,offset-bit\nconv1,0,store-astray,1,5\n", &["predict --fault"]),
        // What exports say beside coordinates.
        ("layer,image,channel,bit,element\nconv1,0,1,4,7\n", &["line 2", "element 7 isn't where"]),
        (
            "layer,image,channel,bit,shape\nconv1,0,1,4,4x8x8\n",
            &["line 2", "[4, 8, 8]", "[4, 16, 16]"],
        ),
        ("layer,image,channel,bit,flip_mask\nconv1,0,1,4,00000020\n", &["line 2", "isn't bit 4"]),
        ("layer,image,channel,flip_mask\nconv1,0,1,300000\n", &["line 2", "column as text"]),
        ("layer,image,channel,flip_mask\nconv1,0,1,00000000\n", &["line 2", "doesn't tell"]),
        ("layer,image,channel,bit,flips\nconv1,0,1,4,3\n", &["line 2", "hit 3 values"]),
        ("layer,image,channel,bit,flips\nconv1,0,1,4,0\n", &["line 2", "hit 0 values"]),
    ];
    for (text, parts) in wrong {
        says(text.as_bytes(), parts);
    }
    let utf16: Vec<u8> =
        "\u{feff}layer,image\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    says(&utf16, &["UTF-16"]);
    says(b"layer,image,channel,bit\nconv\xff,0,1,4\n", &["isn't a list of faults", "UTF-8"]);
    let list = file.with("layer,image,channel,bit\nconv1,8,0,4\nconv1,9,0,4\n").unwrap();
    let path = |image: usize| format!("{image}.png");
    assert!(list.check_images(10, path).is_ok());
    let error = list.check_images(9, path).unwrap_err().to_string();
    assert!(
        error.contains("faults.csv") && error.contains("line 3: there is no image 9"),
        "{error}"
    );
    let list = |path: &str| {
        file.with(format!("layer,image,channel,bit,image_path\nconv1,8,0,4,{path}\n")).unwrap()
    };
    assert!(list("8.png").check_images(10, path).is_ok());
    let error = list("7.png").check_images(10, path).unwrap_err().to_string();
    assert!(error.contains("line 2: image 8 is 8.png here, but 7.png in the list"), "{error}");
    // A spreadsheet's empty line.
    let list = file.with("layer,image,channel,bit\nconv1,8,0,4\n,,,\nconv1,9,0,4\n").unwrap();
    assert_eq!(list.len(), 2);
    let missing: &Path = &file.folder.path().join("none.csv");
    assert!(FaultList::open(missing).unwrap_err().to_string().contains("none.csv"));
}

/// Golden values are those before any replay of their layer: a fault in a weight of it, which changes the whole map of the
/// same image, leaves no trace in what the next one is said to have hit.
#[test]
fn faults_in_weights_and_outputs_of_a_layer_are_told_apart() {
    let list = "layer,site,image,channel,row,column,parameter,index,bit\n\
                fc,weight,3,,,,,5,30\n\
                fc,weight,3,,,,bias,5,30\n\
                fc,output,3,0,0,0,,,21\n\
                fc,output,3,5,0,0,,,22\n\
                conv1,weight,3,,,,,17,30\n\
                conv1,output,3,0,2,3,,,29\n\
                conv1,output,4,0,2,3,,,29\n";
    let list = File::new().with(list).unwrap();
    let plan = || Plan { detectors: vec![Detector::None, Detector::Range], ..Plan::new(1, 1) };
    let expected = of_list(&Bench::new(Head::Baseline), &list, plan()).unwrap();
    let bench = Bench::on(Head::Baseline, &device());
    assert_eq!(text(&of_list(&bench, &list, plan()).unwrap().records), text(&expected.records));
}
