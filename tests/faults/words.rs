//! Single words of a device's memory: read, hit, put back; and parameters as images see them, which are hit like that.

use std::sync::Arc;

use flipside::device::{Buffer, Device, WorkDone};
use flipside::number::BitMasks;
use flipside::ops::add::Add;
use flipside::ops::conv2d::Conv2d;
use flipside::ops::words::{self, WordFault, WordFaults};
use flipside::rng::{self, Draw};
use flipside::tape::{
    Execution, NodeId, ParamHit, ParamId, PlanKind, Tape, Undo, Weights, WordPlace,
};
use flipside::tensor::{Map, Spec};

use crate::devices::{device, devices, kernel_devices};
use crate::kernels::bits;
use crate::mutants;

/// Those whose kernels a mutant may change.
fn devices_on_trial() -> Vec<(String, Device)> {
    if mutants::on_trial() { kernel_devices() } else { devices() }
}

fn buffer(device: &Device, words: &[u32]) -> Buffer {
    let mut buffer = device.alloc(4 * words.len()).unwrap();
    buffer.write(0, bytemuck::cast_slice(words)).unwrap();
    buffer
}

fn words_of(buffer: &Buffer) -> Vec<u32> {
    let mut words = vec![0u32; buffer.bytes() / 4];
    buffer.read(0, bytemuck::cast_slice_mut(&mut words)).unwrap();
    words
}

/// Numbers and, every seventh, a NaN whose bits a read is to keep.
fn random_words(count: usize) -> Vec<u32> {
    let mut draws = rng::stream(6, "words");
    let word = |at: usize| match at % 7 {
        0 => 0xffa1_2345,
        _ => (draws.between(-9.0, 9.0) as f32).to_bits(),
    };
    (0..count).map(word).collect()
}

/// In several blocks, the last one not full, out of two allocations, one word twice.
#[test]
pub fn words_are_read_wherever_they_lie() {
    for (name, device) in devices_on_trial() {
        let contents = [random_words(300), random_words(50)];
        let memory = contents.each_ref().map(|words| buffer(&device, words));
        let order = rng::stream(7, "order").permutation(350);
        let place = |at: &usize| if *at < 300 { (0, *at) } else { (1, *at - 300) };
        let mut places: Vec<(usize, usize)> = order.iter().take(200).map(place).collect();
        places.push(places[0]);
        let addresses: Vec<u64> =
            places.iter().map(|(of, at)| memory[*of].address() + 4 * *at as u64).collect();
        let mut list = device.alloc(8 * addresses.len()).unwrap();
        list.write(0, bytemuck::cast_slice(&addresses)).unwrap();
        let out = buffer(&device, &vec![1; addresses.len() + 1]);
        // SAFETY: words of live buffers, and room for as many.
        unsafe { words::read(&device, list.address(), out.address(), addresses.len()).unwrap() };
        let mut expected: Vec<u32> = places.iter().map(|(of, at)| contents[*of][*at]).collect();
        expected.push(1);
        assert_eq!(words_of(&out), expected, "{name}");
    }
}

/// What masks make of words one after the other, and then what was there, with lists of a word that reach from one block
/// into the next.
#[test]
pub fn hits_of_a_word_have_an_order_and_are_taken_back() {
    for (name, device) in devices_on_trial() {
        let before = random_words(40);
        let memory = buffer(&device, &before);
        let mut draws = rng::stream(8, "hits");
        let hits: Vec<(usize, BitMasks)> = (0..300)
            .map(|hit| {
                let masks = match hit % 3 {
                    0 => BitMasks::set(draws.below(1 << 32) as u32),
                    _ => BitMasks::flip(1 << draws.below(32)),
                };
                (draws.below(30) as usize, masks)
            })
            .collect();
        let mut expected = before.clone();
        hits.iter().for_each(|(at, masks)| expected[*at] = masks.apply(expected[*at]));
        let fault = |(at, masks): &(usize, BitMasks)| {
            WordFault::new(memory.address() + 4 * *at as u64, *masks)
        };
        let mut kept = None;
        for count in [hits.len(), hits.len(), 1] {
            let list = hits[..count].iter().map(fault).collect();
            let faults = WordFaults::new(&device, list, kept).unwrap();
            // SAFETY: words of a live buffer.
            unsafe { faults.hit().unwrap() };
            if count > 1 {
                assert_eq!(words_of(&memory), expected, "{name}");
            }
            assert_ne!(words_of(&memory), before, "{name}");
            // SAFETY: as above.
            unsafe { faults.undo().unwrap() };
            assert_eq!(words_of(&memory), before, "{name}: back again");
            kept = Some(faults.into_memory());
        }
    }
}

const MAP: Map = Map::new(5, 4, 6);
const IMAGES: usize = 3;

/// y = first(x) + second(x).
struct Network {
    tape: Arc<Tape>,
    x: NodeId,
    first: NodeId,
    y: NodeId,
}

impl Network {
    fn new() -> Network {
        let mut tape = Tape::new();
        let conv = Conv2d { bias: true, ..Conv2d::square(6, 6, 3, 1, 1) };
        let x = tape.input("x", Spec::f32(MAP));
        let first = tape.record("first", conv, &[x]).unwrap();
        let second = tape.record("second", conv, &[x]).unwrap();
        let y = tape.record("y", Add::new(), &[first, second]).unwrap();
        Network { tape: Arc::new(tape), x, first, y }
    }

    fn begin(&self, device: &Device) -> (Weights, Execution) {
        let mut weights = Weights::new(&self.tape, device, false).unwrap();
        weights.initialize(3).unwrap();
        let kind = PlanKind::Golden;
        let mut exec = Execution::new(&self.tape, device, kind, IMAGES, &[self.y]).unwrap();
        exec.begin(IMAGES).unwrap();
        let mut draws = rng::stream(8, "pixels");
        let count = IMAGES * MAP.elements();
        let pixels: Vec<f32> = (0..count).map(|_| draws.between(-1.0, 1.0) as f32).collect();
        exec.write(self.x, &pixels).unwrap();
        exec.forward(&weights).unwrap();
        (weights, exec)
    }
}

#[test]
fn values_and_entries_are_read_by_their_places() {
    let network = Network::new();
    for (name, device) in devices() {
        let (weights, mut exec) = network.begin(&device);
        let values = bits(&exec.read(network.first).unwrap());
        let entries = bits(&weights.get(ParamId(0)).unwrap());
        let value = |image, element| WordPlace::Value { node: network.first, image, element };
        let entry = |index| WordPlace::Param { param: ParamId(0), index };
        let places = [value(2, 17), entry(100), value(0, 0), value(1, 119), entry(0)];
        let at = |image: usize, element| image * MAP.elements() + MAP.memory_index(element);
        let expected = [values[at(2, 17)], entries[100], values[0], values[at(1, 119)], entries[0]];
        let found = exec.read_words(&weights, &places).unwrap().wait::<u32>().unwrap();
        assert_eq!(found, expected, "{name}");
        assert!(exec.read_words(&weights, &[]).unwrap().wait::<u32>().unwrap().is_empty());
        for (place, words) in [
            (value(3, 0), "'first' has no image 3"),
            (value(0, 120), "'first' has no element 120"),
            (entry(324), "'first.weight' has no entry 324"),
        ] {
            let said = exec.read_words(&weights, &[place]).unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
        }
    }
}

/// What was asked for is what was there then, whatever is queued behind it; nobody has to wait.
#[test]
fn what_is_read_later_is_what_was_there() {
    let network = Network::new();
    for (name, device) in devices() {
        let (weights, mut exec) = network.begin(&device);
        let clean = exec.read(network.y).unwrap();
        let (first, unwanted) =
            (exec.read_later(network.y).unwrap(), exec.read_later(network.x).unwrap());
        let masks = BitMasks::flip(1 << 30);
        let hit = ParamHit { param: ParamId(0), image: 1, index: 7, masks };
        exec.arm_parameters(&weights, &[hit]).unwrap();
        exec.forward(&weights).unwrap();
        let second = exec.read_later(network.y).unwrap();
        drop(unwanted);
        let before = device.work_done();
        let (first, second) = (first.wait::<f32>().unwrap(), second.wait::<f32>().unwrap());
        assert_eq!(device.work_done(), WorkDone { waits: before.waits + 2, ..before });
        assert_eq!(bits(&first), bits(&clean), "{name}");
        assert_eq!(bits(&second), bits(&exec.read(network.y).unwrap()), "{name}");
        assert_ne!(bits(&first), bits(&second), "{name}");
    }
}

/// Hits of several calls, several of them in one entry, NaN among what they make: the bits of a scalar loop; then all is
/// as before, with copies that are kept and without, with graphs and without.
#[test]
fn copies_are_hit_in_order_and_put_right() {
    let network = Network::new();
    let set = |bits| BitMasks::set(bits);
    let hit = |param, image, index, masks| ParamHit { param: ParamId(param), image, index, masks };
    let calls = [
        vec![
            hit(0, 1, 40, set(0xffc1_0000)),
            hit(0, 2, 3, BitMasks::flip(1 << 29)),
            hit(0, 1, 40, BitMasks::flip(1 << 30)),
            hit(1, 1, 2, set(2.5f32.to_bits())),
        ],
        vec![hit(0, 1, 40, BitMasks::flip(1 << 22)), hit(0, 0, 40, BitMasks::flip(1 << 25))],
    ];
    for (name, device) in devices() {
        let (mut weights, mut exec) = network.begin(&device);
        let clean = bits(&exec.read(network.y).unwrap());
        let mut expected = Vec::new();
        for image in 0..IMAGES {
            let golden = [0, 1].map(|id| weights.get(ParamId(id)).unwrap());
            let mut changed = golden.clone();
            for hit in calls.iter().flatten().filter(|hit| hit.image == image) {
                let entry = &mut changed[hit.param.0][hit.index];
                *entry = f32::from_bits(hit.masks.apply(entry.to_bits()));
            }
            let set = |weights: &mut Weights, values: &[Vec<f32>; 2]| {
                for (id, values) in values.iter().enumerate() {
                    weights.set(ParamId(id), values).unwrap();
                }
            };
            set(&mut weights, &changed);
            exec.forward(&weights).unwrap();
            set(&mut weights, &golden);
            let y = bits(&exec.read(network.y).unwrap());
            expected.extend_from_slice(&y[image * MAP.elements()..][..MAP.elements()]);
        }
        assert_ne!(expected, clean);
        for (graphs, keeps) in [(false, false), (false, true), (true, false), (true, true)] {
            let what = format!("{name}, graphs: {graphs}, kept: {keeps}");
            exec.use_graphs(graphs);
            exec.options.keep_patches = keeps;
            for round in 0..3 {
                for hits in &calls {
                    exec.arm_parameters(&weights, hits).unwrap();
                }
                match round {
                    0 => exec.forward(&weights).unwrap(),
                    _ => exec.replay_from(&weights, network.first).unwrap(),
                }
                assert_eq!(bits(&exec.read(network.y).unwrap()), expected, "{what}");
                exec.disarm();
                exec.forward(&weights).unwrap();
                assert_eq!(bits(&exec.read(network.y).unwrap()), clean, "{what}");
                // Copies that are kept are right again: another hit of them is alone.
                exec.arm_parameters(&weights, &calls[1][1..]).unwrap();
                exec.forward(&weights).unwrap();
                let others = bits(&exec.read(network.y).unwrap());
                assert_eq!(others[MAP.elements()..], clean[MAP.elements()..], "{what}");
                exec.disarm();
                exec.forward(&weights).unwrap();
            }
        }
        if device.is_cpu() {
            exec.arm_parameters(&weights, &calls[0]).unwrap();
            let mut undo = Undo::default();
            exec.replay_image(&weights, network.first, 2, &[network.y], &mut undo).unwrap();
            let y = bits(&exec.read(network.y).unwrap());
            assert_eq!(y[2 * MAP.elements()..], expected[2 * MAP.elements()..], "boxes");
            exec.restore(&mut undo);
            exec.disarm();
            assert_eq!(bits(&exec.read(network.y).unwrap()), clean, "restored");
        }
    }
}

/// A call with a hit that is refused makes none of its hits.
#[test]
fn a_call_that_is_refused_hits_nothing() {
    let network = Network::new();
    let device = device();
    let (weights, mut exec) = network.begin(&device);
    let clean = bits(&exec.read(network.y).unwrap());
    let hit = |image| {
        let masks = BitMasks::flip(1 << 30);
        ParamHit { param: ParamId(0), image, index: 1, masks }
    };
    let said = exec.arm_parameters(&weights, &[hit(0), hit(3)]).unwrap_err().to_string();
    assert!(said.contains("image 3"), "{said}");
    exec.forward(&weights).unwrap();
    assert_eq!(bits(&exec.read(network.y).unwrap()), clean);
}

/// Once captured, a round of faults in weights moves the hits up, hits, replays, puts back, and moves the answers down;
/// which images see copies of their own, and where those lie, is part of the graph.
#[test]
fn a_round_of_faults_in_weights_is_queued_whole() {
    let network = Network::new();
    let device = device();
    let (weights, mut exec) = network.begin(&device);
    exec.use_graphs(true);
    exec.options.keep_patches = true;
    let mut draws = rng::stream(9, "entries");
    let mut round = |images: &[usize]| {
        let hit = |image: &usize| ParamHit {
            param: ParamId(0),
            image: *image,
            index: draws.below(324) as usize,
            masks: BitMasks::flip(1 << 30),
        };
        let hits: Vec<ParamHit> = images.iter().map(hit).collect();
        exec.arm_parameters(&weights, &hits).unwrap();
        exec.replay_from(&weights, network.first).unwrap();
        exec.disarm();
        exec.read_later(network.y).unwrap().wait::<f32>().unwrap();
    };
    round(&[0, 1, 2]);
    round(&[2, 0]);
    let of_rounds = |before: WorkDone, count: u64, hits: u64| WorkDone {
        launches: before.launches + 2 * count,
        replays: before.replays + count,
        uploads: before.uploads + count,
        uploaded_bytes: before.uploaded_bytes + 24 * hits,
        downloads: before.downloads + count,
        downloaded_bytes: before.downloaded_bytes + count * 4 * (IMAGES * MAP.elements()) as u64,
        waits: before.waits + count,
        ..before
    };
    let before = device.work_done();
    // Who asks in another order gets his own copy.
    round(&[0, 2]);
    round(&[2, 0]);
    round(&[1]);
    round(&[0, 1, 2]);
    assert_eq!(device.work_done(), of_rounds(before, 4, 8));
}
