//! Parts of images: the same pixels as cut out of the whole, the same draws, and the same judgement of damage.

use super::preprocessing::JPEGS;
use flipside::Result;
use flipside::data::transform::{Area, ChooseArea, TrainTransform, crop};
use flipside::data::{
    Batches, Cached, ClassEntry, Dataset, EpochPlan, Image8, ImageFolder, decode, decode_file_part,
    decode_part,
};
use flipside::rng::{Draw, stream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn fixture(name: &str) -> PathBuf {
    crate::root().join("tests/fixtures/preprocessing").join(name)
}

/// An area of any size at any place; every side of the image is met now and then.
fn area(height: usize, width: usize, draws: &mut impl Draw) -> Area {
    let mut side = |whole: usize| {
        let size = 1 + draws.below(whole as u64) as usize;
        (draws.below((whole - size + 1) as u64) as usize, size)
    };
    let ((top, height), (left, width)) = (side(height), side(width));
    Area { top, left, height, width }
}

#[test]
fn parts_are_cut_from_the_whole() {
    let source = stream(7, "parts");
    for (i, name) in JPEGS.iter().enumerate() {
        let path = fixture(&format!("{name}.jpg"));
        let bytes = std::fs::read(&path).unwrap();
        let whole = decode(&bytes, &path).unwrap();
        let mut draws = source.block(i as u64);
        for _ in 0..300 {
            let area = area(whole.height, whole.width, &mut draws);
            let mut asked = 0;
            let part = decode_part(&bytes, &path, &mut |height, width| {
                asked += 1;
                assert_eq!((height, width), (whole.height, whole.width));
                area
            });
            assert_eq!(part.unwrap(), crop(&whole, area), "{name}, {area:?}");
            assert_eq!(asked, 1);
        }
    }
    let path = fixture("resize_0.png");
    let whole = decode(&std::fs::read(&path).unwrap(), &path).unwrap();
    let area = area(whole.height, whole.width, &mut source.block(99));
    assert_eq!(decode_file_part(&path, &mut |_, _| area).unwrap(), crop(&whole, area));
}

#[test]
fn a_part_outside_of_the_image_is_refused() {
    for name in ["rgb_420.jpg", "resize_0.png"] {
        let [top, left, height, width] = [0, 3, 10, usize::MAX];
        let area = Area { top, left, height, width };
        let error = decode_file_part(&fixture(name), &mut |_, _| area).unwrap_err().to_string();
        assert!(error.contains("10×") && error.contains("isn't inside"), "{error}");
        let empty = Area { height: 0, width: 2, ..area };
        assert!(decode_file_part(&fixture(name), &mut |_, _| empty).is_err());
    }
}

/// A scan that comes once more says the same.
#[test]
fn coefficients_of_repeated_scans_count() {
    for name in ["rgb_420", "grey", "restarts"] {
        let path = fixture(&format!("{name}.jpg"));
        let bytes = std::fs::read(&path).unwrap();
        let scan = bytes.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
        let end = bytes.len() - 2;
        let twice = [&bytes[..end], &bytes[scan..]].concat();
        let whole = decode(&bytes, &path).unwrap();
        assert_eq!(decode(&twice, &path).unwrap(), whole, "{name}");
        let area = Area { top: 3, left: 5, height: 9, width: 7 };
        assert_eq!(decode_part(&twice, &path, &mut |_, _| area).unwrap(), crop(&whole, area));
    }
}

/// Whatever is wrong with a file, a part of it is refused by the same words, and else has the same pixels.
#[test]
fn damage_is_found_wherever_it_is() {
    for name in ["rgb_420", "restarts", "progressive", "grey"] {
        let whole = std::fs::read(fixture(&format!("{name}.jpg"))).unwrap();
        let area = Area { top: 0, left: 0, height: 9, width: 9 };
        let (mut read, mut refused) = (0, 0);
        let mut check = |bytes: &[u8]| {
            let path = Path::new("x");
            let fitting = |height: usize, width: usize| match area.lies_in(height, width) {
                true => area,
                false => Area::whole(height, width),
            };
            let part = decode_part(bytes, path, &mut { fitting });
            match (decode(bytes, path), part) {
                (Ok(image), Ok(part)) => {
                    read += 1;
                    assert_eq!(part, crop(&image, fitting(image.height, image.width)));
                }
                (Err(error), Err(of_part)) => {
                    refused += 1;
                    assert_eq!(error.to_string(), of_part.to_string());
                }
                (image, part) => panic!("{name}: {:?} {:?}", image.err(), part.err()),
            }
        };
        for end in (0..whole.len()).step_by(3) {
            check(&whole[..end]);
        }
        let mut draws = stream(8, "damage").block(whole.len() as u64);
        for _ in 0..3000 {
            let mut bytes = whole.clone();
            // The size in the header stays, so that no large picture is made.
            let frame = whole.windows(2).position(|pair| matches!(pair, [0xff, 0xc0 | 0xc2]));
            let from = frame.unwrap() + 9;
            let at = from + draws.below((whole.len() - from) as u64) as usize;
            bytes[at] = draws.below(256) as u8;
            check(&bytes);
        }
        assert!(read > 100 && refused > 500, "{name}: {read} {refused}");
    }
}

/// A data set that decodes everything, as data sets do that don't say otherwise.
struct Whole(ImageFolder);

impl Dataset for Whole {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn classes(&self) -> &[ClassEntry] {
        self.0.classes()
    }
    fn label(&self, i: usize) -> usize {
        self.0.label(i)
    }
    fn image(&self, i: usize) -> Result<Image8> {
        self.0.image(i)
    }
    fn path(&self, i: usize) -> String {
        self.0.path(i)
    }
    fn fingerprint(&self) -> String {
        self.0.fingerprint()
    }
}

/// Batches have the same bits from parts, from whole images and from kept ones, also where the budget for them
/// ends in the middle.
#[test]
fn batches_have_the_same_bits_from_parts() {
    let dir = tempfile::tempdir().unwrap();
    for (i, name) in JPEGS.iter().enumerate() {
        let class = dir.path().join(format!("{}", i % 2));
        std::fs::create_dir_all(&class).unwrap();
        std::fs::copy(fixture(&format!("{name}.jpg")), class.join(format!("{name}.jpg"))).unwrap();
    }
    let open = || ImageFolder::open(dir.path()).unwrap();
    let batches = |set: Arc<dyn Dataset>| {
        (0..2)
            .flat_map(|epoch| {
                let plan = EpochPlan { workers: 2, ..EpochPlan::train(8, 3, epoch) };
                Batches::new(set.clone(), TrainTransform::imagenet(40), plan).unwrap()
            })
            .collect::<Result<Vec<_>>>()
            .unwrap()
    };
    let parts = batches(Arc::new(open()));
    assert_eq!(parts, batches(Arc::new(Whole(open()))));
    for budget in [0, 20_000, 1 << 24] {
        let cached = Arc::new(Cached::new(open(), budget));
        assert_eq!(parts, batches(cached.clone()), "{budget}");
        assert!((budget < 1 << 24) || cached.kept() == JPEGS.len());
    }
    let mut part = |height: usize, width: usize| Area::whole(height, width);
    let choose: &mut ChooseArea<'_> = &mut part;
    assert_eq!(open().image_part(0, choose).unwrap(), open().image(0).unwrap());
}
