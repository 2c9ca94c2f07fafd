//! What others read: exported rows, the store's tables, the page that explains both, and the example that
//! uses the library.

use std::collections::BTreeSet;
use std::path::Path;

use flipside::campaign::FaultList;
use flipside::fault::Site;
use flipside::results::{Config, write_csv, write_parquet};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use super::*;

#[path = "../../examples/own_model.rs"]
mod own_model;

fn csv_bytes(run: &Run) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_csv(run, &mut bytes).unwrap();
    bytes
}

fn parquet_bytes(run: &Run) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_parquet(run, &mut bytes).unwrap();
    bytes
}

/// A heading and rows.
type Table = (Vec<String>, Vec<Vec<String>>);

/// What CSV holds.
fn csv_table(run: &Run) -> Table {
    let bytes = csv_bytes(run);
    let mut reader = csv::Reader::from_reader(&*bytes);
    let texts = |record: &csv::StringRecord| record.iter().map(String::from).collect();
    let heading = texts(reader.headers().unwrap());
    (heading, reader.records().map(|record| texts(&record.unwrap())).collect())
}

/// The same of a Parquet file, cells in CSV's words, and its row groups' sizes.
fn parquet_table(run: &Run) -> (Table, Vec<i64>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), parquet_bytes(run)).unwrap();
    let reader = SerializedFileReader::new(fs::File::open(file.path()).unwrap()).unwrap();
    let metadata = reader.metadata();
    let heading = metadata.file_metadata().schema().get_fields().iter();
    let heading = heading.map(|field| field.name().to_string()).collect();
    let groups = metadata.row_groups().iter().map(|group| group.num_rows()).collect();
    let cell = |field: &Field| match field {
        Field::Null => String::new(),
        Field::Str(text) => text.clone(),
        Field::Long(value) => value.to_string(),
        Field::Double(value) => format!("{value:?}"),
        Field::Bool(value) => value.to_string(),
        other => panic!("{other:?}"),
    };
    let rows = reader.get_row_iter(None).unwrap();
    let rows = rows.map(|row| row.unwrap().get_column_iter().map(|(_, f)| cell(f)).collect());
    ((heading, rows.collect()), groups)
}

/// Cells of a column.
fn column<'t>(table: &'t Table, name: &str) -> Vec<&'t str> {
    let at = table.0.iter().position(|column| column == name).unwrap_or_else(|| panic!("{name}"));
    table.1.iter().map(|row| row[at].as_str()).collect()
}

fn assert_same_cells(run: &Run) {
    let (heading, rows) = csv_table(run);
    let ((names, cells), _) = parquet_table(run);
    assert_eq!(names, heading);
    assert_eq!(cells.len(), run.records.len());
    for (number, (cells, row)) in cells.iter().zip(&rows).enumerate() {
        assert_eq!(cells, row, "row {number}");
    }
    assert_eq!(rows.len(), cells.len());
}

#[test]
fn parquet_holds_what_csv_holds() {
    let bench = Bench::new(GUIDED);
    let mut run = bench.run(Plan::new(6, 40));
    assert_same_cells(&run);
    // Numbers that aren't finite, exact.
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 5e-324];
    for (record, value) in run.records.iter_mut().zip(odd) {
        record.effect.score.loss = value;
    }
    assert_same_cells(&run);
    let (table, _) = parquet_table(&run);
    let losses = &column(&table, "faulty_loss")[..5];
    assert_eq!(losses, ["NaN", "inf", "-inf", "-0.0", "5e-324"]);
    // Bytes are the run's alone.
    assert_eq!(parquet_bytes(&run), parquet_bytes(&run.clone()));
    run.records.clear();
    assert_same_cells(&run);
    let plain = |site| Plan { site, detectors: vec![Detector::None], ..Plan::new(6, 9) };
    for site in [Site::Weight, Site::Input, Site::StoreLost] {
        assert_same_cells(&bench.run(plain(site)));
    }
}

#[test]
fn row_groups_are_bounded() {
    let mut run = Bench::new(Head::Baseline).run(Plan::new(6, 40));
    let many: Vec<Record> = run.records.iter().cycle().take(70_000).copied().collect();
    run.records = many;
    let ((_, rows), groups) = parquet_table(&run);
    assert_eq!(groups, [65_536, 70_000 - 65_536]);
    assert_eq!(rows, csv_table(&run).1);
}

/// Coordinates are those of what was hit, in every kind of campaign.
#[test]
fn rows_say_where() {
    let bench = Bench::new(GUIDED);
    let plan = |site| Plan { site, detectors: vec![Detector::None], ..Plan::new(6, 30) };
    for site in [Site::Output, Site::Input, Site::Weight] {
        let campaign = bench.campaign(plan(site));
        let run = bench.run(plan(site));
        let table = csv_table(&run);
        let number = |name: &str| -> Vec<Option<usize>> {
            column(&table, name).iter().map(|cell| cell.parse().ok()).collect()
        };
        let [elements, channels, rows, columns] =
            ["element", "channel", "row", "column"].map(number);
        let shapes = column(&table, "shape");
        for (at, record) in run.records.iter().enumerate() {
            let layer = &campaign.layers()[record.layer];
            let element = elements[at].unwrap();
            let sizes: Vec<usize> = shapes[at]
                .split('x')
                .filter(|size| !size.is_empty())
                .map(|size| size.parse().unwrap())
                .collect();
            assert!(element < sizes.iter().product());
            if let Some(parameter) = &layer.parameter {
                assert_eq!(sizes, parameter.shape);
                assert_eq!([channels[at], rows[at], columns[at]], [None; 3]);
                continue;
            }
            let map = match site {
                Site::Input => bench.network.model.tape.input_specs(layer.node)[0].map,
                _ => layer.map,
            };
            assert_eq!(sizes, [map.channels, map.height, map.width]);
            let [channel, row, column] = [channels[at], rows[at], columns[at]].map(Option::unwrap);
            assert_eq!((channel * map.height + row) * map.width + column, element);
            assert!(row < map.height && column < map.width);
        }
    }
}

/// A list mixes sites in one layer: each row has its own map.
#[test]
fn rows_of_a_list_say_where() {
    let bench = Bench::new(GUIDED);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("faults.csv");
    let list = "site,layer,image,index,channel,row,column,bit\n\
                output,conv1,0,,3,2,5,30\n\
                input,conv1,1,,2,7,1,22\n\
                weight,conv1,3,17,,,,30\n";
    fs::write(&path, list).unwrap();
    let list = FaultList::open(&path).unwrap();
    let plan = Plan { detectors: vec![Detector::None], ..Plan::new(1, 3) };
    let campaign = Campaign::of_list(&bench, plan, &list).unwrap();
    let records = campaign.run(Strategy::Boxes, &Silent).unwrap();
    let run = campaign.results(records);
    assert_same_cells(&run);
    let table = csv_table(&run);
    let of = |name: &str| column(&table, name);
    assert_eq!(of("site"), ["output", "input", "weight"]);
    assert_eq!(of("shape"), ["4x16x16", "3x16x16", "4x3x3x3"]);
    assert_eq!(of("channel"), ["3", "2", ""]);
    assert_eq!(of("row"), ["2", "7", ""]);
    assert_eq!(of("column"), ["5", "1", ""]);
    assert_eq!(of("element")[2], "17");
    assert_eq!(of("bit"), ["30", "22", "30"]);
    assert_eq!(of("flip_mask"), ["40000000", "00400000", "40000000"]);
    for (before, (mask, direction)) in
        of("before").iter().zip(of("flip_mask").iter().zip(of("direction")))
    {
        let [before, mask] = [before, mask].map(|bits| u32::from_str_radix(bits, 16).unwrap());
        assert_eq!(direction, if before & mask == 0 { "0-to-1" } else { "1-to-0" });
    }
}

/// The page's first cells of the table below `heading`, less their code marks.
fn explained(heading: &str) -> BTreeSet<String> {
    let page = fs::read_to_string(crate::root().join("docs/reading-results.md")).unwrap();
    let from = page.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no '{heading}'"));
    let part = &page[from + heading.len() + 2..];
    let part = &part[..part.find("\n#").unwrap_or(part.len())];
    let cells = part.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells.skip(1).flat_map(|cell| cell.split(", ")).map(|name| name.replace('`', "")).collect()
}

/// The page has each table of a store, and of each all columns and no other.
pub fn assert_explained(store: &Path) {
    let connection = rusqlite::Connection::open(store).unwrap();
    let list = |sql: &str| -> Vec<String> {
        let mut query = connection.prepare(sql).unwrap();
        query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    for table in list("SELECT name FROM sqlite_schema WHERE type = 'table'") {
        let names = match table.as_str() {
            "manifest" => list("SELECT key FROM manifest"),
            table => list(&format!("SELECT name FROM pragma_table_info('{table}')")),
        };
        // A store that holds a census alone has an empty one.
        if !names.is_empty() {
            assert_eq!(
                explained(&format!("### `{table}`")),
                names.into_iter().collect(),
                "{table}"
            );
        }
    }
}

#[test]
fn the_page_explains_columns_and_tables() {
    let mut run = Bench::new(Head::Baseline).run(Plan::new(6, 2));
    assert_eq!(explained("## Columns"), csv_table(&run).0.into_iter().collect());
    // What the program keeps beside what the library knows.
    run.manifest.config = Some(Config { flags: "seed = 6\n".into(), file: None });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.sqlite");
    run.save(&path).unwrap();
    assert_explained(&path);
}

#[test]
fn the_example_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weights.safetensors");
    own_model::write_weights(&file).unwrap();
    let run = own_model::run(&file).unwrap();
    let names: Vec<&str> = run.manifest.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["conv1", "conv2", "fc"]);
    assert_eq!(run.records.len(), 3 * 200 * 2);
    let share = |layer: usize, outcome: Outcome| {
        run.of(layer, Detector::None).filter(|r| r.effect.outcome == outcome).count()
    };
    // Faults before a ReLU are often masked, those of the last layer never.
    let masked: Vec<usize> = (0..3).map(|layer| share(layer, Outcome::Masked)).collect();
    assert!(masked[0] > 50 && masked[0] < 200 && masked[1] < 200 && masked[2] == 0, "{masked:?}");
    assert!(share(2, Outcome::Sdc) > 0);
    // A file of another network is refused by name.
    let path: &Path = &folder.path().join("other.safetensors");
    let bench = Bench::new(Head::Baseline);
    flipside::models::save_state(path, &bench.network.model, "tiny", &bench.network.weights)
        .unwrap();
    let error = own_model::run(path).unwrap_err().to_string();
    assert!(error.contains("other.safetensors") && error.contains("bn2.weight"), "{error}");
}
