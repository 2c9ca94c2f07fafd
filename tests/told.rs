//! Injections told one by one: `inject --only` and `predict --fault`.

use serde_json::Value;

use crate::cli::Place;

const RUN: &str = "--model tiny.toml --checkpoint run/model.safetensors";

fn place() -> Place {
    let place = Place::new();
    place.done("train --model tiny.toml --data data --quiet --epochs 8 --out run");
    place
}

fn predicted(place: &Place, image: &str, fault: &str) -> Value {
    place.json(&format!("predict {RUN} {image} --quiet --fault {fault}"))[0].clone()
}

/// What is told is what the record says; and the fault as it is told, tried alone, does the same.
#[test]
fn an_injection_can_be_tried_again_as_it_is_told() {
    let place = place();
    for site in ["output", "input --detector none", "weight"] {
        let inject = format!("inject {RUN} --data data --quiet --only 3 --site {site}");
        let json = place.json(&format!("{inject} --out {}.sqlite", &site[..5]));
        place.done(&format!("export {}.sqlite --out a.csv", &site[..5]));
        std::fs::remove_file(place.at(&format!("{}.sqlite", &site[..5]))).unwrap();
        let mut rows = csv::Reader::from_path(place.at("a.csv")).unwrap();
        let heads = rows.headers().unwrap().clone();
        let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
        let told = json["injections"].as_array().unwrap();
        assert!(told.len() > 3);
        for injection in told {
            assert_eq!(injection["injection"], 3);
            let hit = &injection["hit"][0];
            let values = &hit["values"][0]["values"];
            for answer in injection["faulty"].as_array().unwrap() {
                let of = |row: &csv::StringRecord, name: &str| {
                    row[heads.iter().position(|head| head == name).unwrap()].to_string()
                };
                let is_it = |row: &&csv::StringRecord| {
                    of(row, "layer") == hit["layer"] && of(row, "detector") == answer["detector"]
                };
                let row = rows.iter().find(is_it).unwrap();
                let hex = |key: &str| values[key]["bits"].as_str().unwrap()[2..].to_string();
                assert_eq!((hex("before"), hex("after")), (of(row, "before"), of(row, "after")));
                if answer["detector"] == "range" {
                    assert_eq!(hex("under_range"), of(row, "seen"));
                }
                assert_eq!(answer["outcome"], of(row, "outcome"));
                assert_eq!(injection["image"], of(row, "image_path"));
                assert_eq!(hit["values"][0]["bits"][0]["bit"].to_string(), of(row, "bit"));
                let loss: f64 = of(row, "faulty_loss").parse().unwrap_or(f64::NAN);
                match answer["loss"].as_f64() {
                    Some(told) => assert!((told - loss).abs() < 1e-9, "{told} {loss}"),
                    None => assert_eq!(answer["outcome"], "nonfinite"),
                }
                assert_eq!(answer["top"][0]["class"].to_string(), of(row, "faulty_top1"));
            }
            // The images are right, so that the label is the fault-free top-1. After the scale is no layer of a
            // baseline.
            let again = predicted(
                &place,
                injection["file"].as_str().unwrap(),
                hit["fault"].as_str().unwrap(),
            );
            let again = &again["injection"];
            assert_eq!(again["fault_free"]["top"][0], injection["fault_free"]["top"][0]);
            let [ours, theirs] = [again, injection].map(|of| &of["faulty"][0]);
            assert_eq!((&ours["outcome"], &ours["loss"]), (&theirs["outcome"], &theirs["loss"]));
            assert_eq!(ours["top"], theirs["top"]);
            for key in ["before", "after"] {
                assert_eq!(again["hit"][0]["values"][0]["values"][key], values[key]);
            }
        }
    }
}

#[test]
fn one_layer_is_told_in_full_and_many_in_a_table() {
    let place = place();
    let inject = format!("inject {RUN} --data data --quiet --only 3");
    let one = place.done(&format!("{inject} --layer conv1"));
    for part in [
        "Injection 3 into ",
        "image ",
        "label ",
        "layer=conv1,channel=",
        "(0x",
        "range ",
        "outcome",
        "top 2",
    ] {
        assert!(one.contains(part), "{part} in\n{one}");
    }
    let many = place.done(&inject);
    assert!(many.contains("| conv1 ") && many.contains("before → after"), "{many}");
    assert!(many.contains("--layer NAME tells"), "{many}");
    // Several values, and none.
    let several = place.done(&format!("{inject} --layer conv1 --flips 6"));
    assert_eq!(several.matches("fault   layer=").count(), 6, "{several}");
    let none = place.done(&format!("{inject} --layer conv1 --ber 1e-12"));
    assert!(none.contains("no bit was flipped") && none.contains("is masked"), "{none}");
    // Campaigns of more than one are summed up as ever.
    let sum = place.done(&format!("inject {RUN} --data data --quiet --injections 3"));
    assert!(sum.contains("Detector none") && !sum.contains("Injection "), "{sum}");
}

#[test]
fn predict_says_what_a_fault_hit() {
    let place = place();
    let image = "data/val/n0/0.png";
    let predict = format!("predict {RUN} {image} data/val/n1/0.png --quiet");
    let said = |fault: &str| place.done(&format!("{predict} --fault {fault}"));
    // The lowest bit of a value that a ReLU cuts off or that rounding swallows changes nothing; the highest of the
    // exponent of a logit changes the answer.
    let big = said("layer=fc,channel=0,bit=30");
    for part in [
        "fault   layer=fc,channel=0,row=0,column=0,bit=30",
        "; bit 30 (exponent), ",
        "fault-free top-1",
    ] {
        assert!(big.contains(part), "{part} in\n{big}");
    }
    // The other image has no fault and is told as ever.
    assert!(big.contains("data/val/n1/0.png\n  "), "{big}");
    let same = said("layer=fc,channel=0,model=set,value=1.5");
    let again = said("layer=fc,channel=0,model=stuck-at-0,bit=31");
    assert!(same.contains("→ 1.5 (") && again.contains("value "), "{same}\n{again}");
    let stuck = [0, 1].map(|bit| said(&format!("layer=fc,channel=0,model=stuck-at-{bit},bit=31")));
    let masked: Vec<&String> =
        stuck.iter().filter(|text| text.contains("The fault is masked")).collect();
    assert_eq!(masked.len(), 1, "a sign is 0 or 1: {stuck:?}");
    assert!(masked[0].contains("it had these bits already"), "{masked:?}");
    let row = said("layer=conv1,shape=column,channel=1,bit=3");
    assert!(row.contains("and 252 more values"), "{row}");
    // A number inside of a kernel isn't known, its bits are.
    let inner = said("layer=conv1,site=operand-a@2,channel=1,bit=3 --device emulated");
    assert!(inner.contains("not known; bit 3 (mantissa)"), "{inner}");
    let lost = said("layer=conv1,site=store-lost,channel=1");
    assert!(lost.contains("→ 0 (") && lost.contains("site=store-lost"), "{lost}");
    // The form without faults is what it was.
    let plain = place.json(&format!("predict {RUN} {image} --quiet"));
    assert!(plain[0].get("injection").is_none() && plain[0]["top"][0]["probability"].is_f64());
}

#[test]
fn topics_are_explained() {
    let place = Place::new();
    let help = place.done("help");
    for (topic, words) in [
        ("outcomes", &["SDC-5", "nonfinite", "ΔLoss", "`range`"][..]),
        ("sites", &["accumulator@k", "b: operand-b, shared-b", "store-astray", "--device cuda"]),
    ] {
        assert!(help.contains(&format!("flipside help {topic}")), "{help}");
        let text = place.done(&format!("help {topic}"));
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(text.trim(), place.done(topic).trim());
        assert!(place.done("completions bash").contains(topic));
    }
    // Every site is there.
    let sites = place.done("help sites");
    assert!(flipside::fault::Site::ALL.iter().all(|site| sites.contains(site.name())));
    assert!(place.done("predict --help").contains("`flipside help sites`"));
    place.done("man --out man");
    assert!(place.at("man/flipside-sites.1").is_file());
}
