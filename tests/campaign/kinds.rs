//! Kinds of campaigns beyond one flipped bit of one output: other sites, parameters, several values, bit
//! error rates, lists.

use std::collections::HashMap;

use flipside::campaign::FaultList;
use flipside::fault::Site;
use flipside::plan::{Flips, Stratify};

use super::*;

/// A plan without detectors.
fn plain(site: Site, injections: u64) -> Plan {
    Plan { site, detectors: vec![Detector::None], ..Plan::new(5, injections) }
}

/// Both strategies, and whole runs, agree; returns the records.
fn agreed(bench: &Bench, plan: Plan) -> Vec<Record> {
    let campaign = bench.campaign(plan);
    let records = campaign.run(Strategy::Boxes, &Silent).unwrap();
    let whole = campaign.run(Strategy::Whole { batch: 3 }, &Silent).unwrap();
    assert_eq!(text(&records), text(&whole));
    let verification = campaign.verify(&records, 60).unwrap();
    assert!(verification.different.is_empty(), "{:?}", verification.different[0]);
    records
}

#[test]
fn every_entry_of_the_state_dict_is_a_site() {
    for head in [Head::Baseline, GUIDED] {
        let bench = Bench::new(head);
        let plan = Plan { site: Site::Weight, ..Plan::new(5, 12) };
        let records = agreed(&bench, plan.clone());
        let campaign = bench.campaign(plan);
        let names: Vec<&str> = campaign.layers().iter().map(|l| l.name.as_str()).collect();
        let expected: Vec<&str> = (bench.network.model.tape.params().iter())
            .map(|param| param.name.as_str())
            .filter(|name| !name.ends_with("num_batches_tracked"))
            .collect();
        assert_eq!(names, expected);
        let mut changed: HashMap<usize, usize> = HashMap::new();
        for record in &records {
            let layer = &campaign.layers()[record.layer];
            let parameter = layer.parameter.as_ref().unwrap();
            let values = bench.network.weights.get(parameter.id).unwrap();
            let (place, bits) = (record.place.unwrap(), record.values().unwrap());
            assert_eq!(bits.before, values[place.element as usize].to_bits());
            assert_eq!(bits.after, bits.before ^ place.mask);
            if record.detector == Detector::Range {
                let max = values.iter().fold(0f32, |max, value| max.max(value.abs()));
                assert!(f32::from_bits(bits.seen).abs() <= max);
            }
            *changed.entry(record.layer).or_default() +=
                usize::from(record.effect.outcome != Outcome::Masked);
        }
        // A weight is read everywhere: hardly an entry whose faults are all masked.
        let silent = (0..names.len()).filter(|layer| !changed.contains_key(layer)).count();
        assert!(silent <= 1, "{silent} of {}", names.len());
    }
}

/// A fault in a parameter does what loading the changed parameter does.
#[test]
fn a_weight_fault_is_another_weight() {
    let bench = Bench::new(GUIDED);
    let mut changed = network(TINY, GUIDED, 3, &Device::cpu());
    let plan = plain(Site::Weight, 3);
    let records = bench.records(plan.clone());
    let parameters: Vec<_> = (bench.campaign(plan).layers().iter())
        .map(|layer| layer.parameter.clone().unwrap().id)
        .collect();
    for record in records {
        let place = record.place.unwrap();
        let mut values = changed.weights.get(parameters[record.layer]).unwrap();
        let golden = values.clone();
        values[place.element as usize] = f32::from_bits(place.values.unwrap().after);
        changed.weights.set(parameters[record.layer], &values).unwrap();
        let (list, labels) = ([record.image], Labels::Data);
        let answer =
            Experiment::evaluate(&changed, bench.images, &list, labels, 1, &Silent).unwrap();
        assert_eq!(answer.goldens[0].hash, record.effect.hash, "{record:?}");
        changed.weights.set(parameters[record.layer], &golden).unwrap();
    }
}

#[test]
fn inputs_and_lost_stores_are_sites() {
    let bench = Bench::new(GUIDED);
    for site in [Site::Input, Site::StoreLost] {
        let records = agreed(&bench, plain(site, 15));
        assert!(records.iter().all(|record| record.site == site && record.flips == 1));
        let changed = records.iter().filter(|r| r.effect.outcome != Outcome::Masked).count();
        assert!(changed > 20, "{changed} of {}", records.len());
        let after = |record: &Record| record.values().unwrap().after;
        assert!(site != Site::StoreLost || records.iter().all(|record| after(record) == 0));
    }
}

/// Sites inside kernels, drawn, on the device that has them.
#[test]
fn sites_inside_kernels_need_kernels() {
    let bench = Bench::new(GUIDED);
    let error = bench.campaign(plain(Site::Accumulator, 2)).run(Strategy::Boxes, &Silent);
    assert!(error.unwrap_err().to_string().contains("--device cuda or emulated"));
    let bench = Bench::on(GUIDED, &device());
    for site in [Site::Accumulator, Site::OperandA, Site::SharedB] {
        let campaign = bench.campaign(plain(site, 6));
        let whole = |batch| campaign.run(Strategy::Whole { batch }, &Silent).unwrap();
        let records = whole(4);
        assert_eq!(text(&records), text(&whole(1)), "{}", site.name());
        assert!(campaign.verify(&records, 10).unwrap().different.is_empty());
        let changed = records.iter().filter(|r| r.effect.outcome != Outcome::Masked).count();
        assert!(changed > 5, "{}: {changed} of {}", site.name(), records.len());
        assert!(records.iter().all(|record| record.values().is_none()));
        assert!(site == Site::Accumulator || records.iter().any(|r| r.place.unwrap().k > 0));
    }
    let refused = |plan: Plan, part: &str| {
        let error = Campaign::new(&bench, plan).err().unwrap();
        assert!(error.to_string().contains(part), "{error}");
    };
    refused(Plan { site: Site::Accumulator, ..Plan::new(1, 2) }, "--detector none");
    refused(plain(Site::StoreAstray, 2), "predict --fault");
    refused(
        plain(Site::Scores, 2),
        "no layer has the site scores for a campaign to draw faults at; the sites there are: output, ",
    );
}

#[test]
fn several_values_and_bit_error_rates() {
    let bench = Bench::new(GUIDED);
    let records = agreed(&bench, Plan { flips: Flips::Count(3), ..Plan::new(5, 12) });
    assert!(records.iter().all(|record| record.place.is_none() || record.flips < 3));
    assert!(records.iter().any(|record| record.flips == 3));
    let rate = |p| Plan { flips: Flips::Rate(p), ..Plan::new(5, 12) };
    let records = agreed(&bench, rate(1e-3));
    let conv1: u32 = records.iter().filter(|r| r.layer == 0).map(|r| r.flips).sum();
    // 24 records of 4·16·16 values of 32 bits at 1e-3: 786 hits on average, some of one value.
    assert!((600..1000).contains(&conv1), "{conv1}");
    let rare = agreed(&bench, rate(1e-9));
    assert!(rare.iter().all(|r| r.flips == 0 && r.effect.outcome == Outcome::Masked));
    let strata = Plan { stratify: Stratify::Bit, ..Plan::new(5, 64) };
    let records = agreed(&bench, strata);
    assert!(records.iter().all(|record| record.mask() == Some(1 << (record.n % 32))));
}

#[test]
fn layers_are_chosen_by_pattern_and_type() {
    let bench = Bench::new(GUIDED);
    let chosen = |patterns: &[&str]| -> Vec<String> {
        let layers = Some(patterns.iter().map(|pattern| pattern.to_string()).collect());
        let campaign = bench.campaign(Plan { layers, ..Plan::new(1, 1) });
        campaign.layers().iter().map(|layer| layer.name.clone()).collect()
    };
    assert_eq!(chosen(&["layer2.*.conv1"]), ["backbone.layer2.0.conv1"]);
    assert_eq!(chosen(&["type:linear"]), ["backbone.fc", "head"]);
    assert_eq!(chosen(&["scaled", "conv1"]), ["backbone.conv1", "scaled"]);
    assert_eq!(chosen(&["*"]).len(), 9);
}

/// The faults of a campaign, written as a list, do what they did.
#[test]
fn a_list_repeats_a_campaign() {
    let bench = Bench::new(GUIDED);
    let plan = Plan { bits: 2, ..Plan::new(5, 10) };
    let expected = bench.records(plan.clone());
    let campaign = bench.campaign(plan.clone());
    let mut rows = vec!["layer, image, channel, row, column, bit".to_string()];
    for record in expected.iter().filter(|record| record.detector == Detector::None) {
        let layer = &campaign.layers()[record.layer];
        let (element, pixels) = (record.place.unwrap().element as usize, layer.map.pixels());
        let (channel, pixel) = (element / pixels, element % pixels);
        let (row, column) = (pixel / layer.map.width, pixel % layer.map.width);
        let bits: Vec<String> = (0..32)
            .filter(|bit| record.mask().unwrap() >> bit & 1 == 1)
            .map(|bit| bit.to_string())
            .collect();
        let bits = bits.join("+");
        rows.push(format!("{},{},{channel},{row},{column},{bits}", layer.name, record.image));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("faults.csv");
    fs::write(&path, rows.join("\n")).unwrap();
    let list = FaultList::open(&path).unwrap();
    let campaign = Campaign::of_list(&bench, Plan::new(5, 10), &list).unwrap();
    let records = campaign.run(Strategy::Boxes, &Silent).unwrap();
    assert_eq!(text(&records), text(&campaign.run(Strategy::Whole { batch: 4 }, &Silent).unwrap()));
    let plain = |records: &[Record]| {
        text(&records.iter().map(|r| Record { n: 0, ..*r }).collect::<Vec<_>>())
    };
    assert_eq!(plain(&records), plain(&expected));
    assert!(records.iter().all(|record| record.n == record.layer as u64 * 10 + record.n % 10));

    // Other sites and models, in one list.
    let with = |text: &str| {
        fs::write(&path, text).unwrap();
        FaultList::open(&path)
    };
    let mixed = "site,layer,image,index,channel,bit,model,value\n\
                 weight,conv1,0,5,,30,,\n\
                 # a comment\n\
                 input,layer1.0.conv2,1,,2,22,,\n\
                 output,fc,3,,1,,set,7.5\n";
    let mixed = with(mixed).unwrap();
    assert_eq!((mixed.len(), mixed.images()), (3, vec![0, 1, 3]));
    let plan = Plan { detectors: vec![Detector::None], ..Plan::new(1, 3) };
    let campaign = Campaign::of_list(&bench, plan, &mixed).unwrap();
    let records = campaign.run(Strategy::Boxes, &Silent).unwrap();
    let sites: Vec<Site> = records.iter().map(|record| record.site).collect();
    assert_eq!(sites, [Site::Weight, Site::Input, Site::Output]);
    assert_eq!(records[2].values().unwrap().after, 7.5f32.to_bits());
    assert!(campaign.verify(&records, 3).unwrap().different.is_empty());
}
