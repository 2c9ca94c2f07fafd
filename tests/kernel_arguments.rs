//! The build's reader of kernels' argument structs: what it writes in Rust, and what it refuses.

#[path = "../build/arguments.rs"]
mod arguments;

use arguments::{Source, read, rust};

const STEP: &str = "\
// Not of the struct.

// One step,
// of [two].
struct StepArgs {
    u64 from, to; // x, or dy
    /* a `Vec<u64>`, not a Vec<u64> */
    Range ranges[AXES];
    f32 scale[2];
    // {nothing} here: \"
    unsigned int count; // of // images
    u64 state;
    u32 last;
};
KERNEL(step_f32, StepArgs, NoShared, 256) { \"// no comment\"; }
";

const RANGE: &str = "\
enum { AXES = 3 };
struct Range {
    i32 first;
    float last; // inclusive

    Range(i32 first) : first(first) { if (first) { last = 1; } }
    u32 length() const { return last - first; }
};
struct Unread { char* text; };
";

fn sources(texts: &[&str]) -> Vec<Source> {
    let names = ["step.cu", "range.cuh"].iter();
    names
        .zip(texts)
        .map(|(path, text)| Source { path: path.into(), text: text.to_string() })
        .collect()
}

/// What is said against a struct with these fields.
fn refused(fields: &str) -> String {
    let text = format!("struct StepArgs {{\n{fields}\n}};");
    let read = read(&sources(&[&text, RANGE]), ["StepArgs"].into_iter());
    read.err().unwrap_or_else(|| panic!("{fields} was read"))
}

#[test]
fn arguments_of_kernels_are_written_in_rust_and_checked_in_cpp() {
    let found = read(&sources(&[STEP, RANGE]), ["StepArgs", "StepArgs"].into_iter()).unwrap();
    let names: Vec<_> = found.iter().map(|structure| structure.name.as_str()).collect();
    assert_eq!(names, ["Range", "StepArgs"]);
    let all: Vec<_> = found.iter().collect();
    assert_eq!(
        rust(&all, &[("step_f32", "StepArgs")]),
        "\
/// Part of [`StepArgs`] (`range.cuh`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Range {
    pub first: i32,
    /// inclusive
    pub last: f32,
}

// SAFETY: C++ lays it out so, or the build would have failed.
unsafe impl KernelArgs for Range {
    const NAME: &'static str = \"Range\";
    const BYTES: usize = 8;

    fn write(&self, bytes: &mut [u8]) {
        self.first.write(&mut bytes[0..]);
        self.last.write(&mut bytes[4..]);
    }
}

/// One step,
/// of \\[two\\].
///
/// Arguments of `step_f32` (`step.cu`).
#[derive(Clone, Copy, Debug)]
pub struct StepArgs {
    /// x, or dy
    pub from: u64,
    /// x, or dy
    pub to: u64,
    /// a `Vec<u64>`, not a Vec\\<u64\\>
    pub ranges: [Range; 3],
    pub scale: [f32; 2],
    /// {nothing} here: \"
    /// of // images
    pub count: u32,
    pub state: u64,
    pub last: u32,
}

// SAFETY: C++ lays it out so, or the build would have failed.
unsafe impl KernelArgs for StepArgs {
    const NAME: &'static str = \"StepArgs\";
    const BYTES: usize = 72;

    fn write(&self, bytes: &mut [u8]) {
        self.from.write(&mut bytes[0..]);
        self.to.write(&mut bytes[8..]);
        self.ranges.write(&mut bytes[16..]);
        self.scale.write(&mut bytes[40..]);
        self.count.write(&mut bytes[48..]);
        self.state.write(&mut bytes[56..]);
        self.last.write(&mut bytes[64..]);
    }
}

"
    );
    let checks = found[1].checks();
    assert_eq!(checks.lines().count(), 8);
    assert!(checks.starts_with("static_assert(sizeof(StepArgs) == 72);\n"), "{checks}");
    assert!(checks.contains("static_assert(offsetof(StepArgs, scale) == 40);\n"), "{checks}");
}

#[test]
fn fields_that_rust_could_not_mirror_are_refused_with_file_struct_and_field() {
    let cases = [
        ("u64 x; f32* y;", "`f32 * y`: a pointer goes to kernels as a u64"),
        ("u32 size[2][2];", "`u32 size [ 2 ] [ 2 ]`: an array has one dimension here"),
        ("u32 size[SIZES];", "size: `SIZES` is no known number"),
        ("half2 x;", "x: `half2` is no number and no struct"),
        ("const u32 x;", "x: `const u32` is no number and no struct"),
        ("u32 x = 3;", "`u32 x = 3`: not a plain field"),
        ("u32 x, // of two\n    y;", "not a plain field"),
        ("x;", "`x`: not a plain field"),
        ("u32 (*x)(u32);", "a pointer goes to kernels as a u64"),
        ("union { u32 x; f32 y; };", "not a plain field"),
        ("#if 1\nu32 x;", "not a plain field"),
        ("u32 x", "`u32 x }`: not a plain field"),
        ("u32 first() {", "it isn't closed"),
        ("StepArgs x;", "struct StepArgs holds itself"),
    ];
    for (fields, why) in cases {
        let text = refused(fields);
        assert!(text.starts_with("step.cu: struct StepArgs: "), "{text}");
        assert!(text.contains(why), "{fields}: {text}");
    }
    let text = refused("Unread x;");
    assert!(text.contains("range.cuh: struct Unread: `char * text`"), "{text}");
    let text = read(&sources(&[STEP, RANGE]), ["OtherArgs"].into_iter()).err().unwrap();
    assert!(text.starts_with("step.cu: a kernel takes OtherArgs, which neither"), "{text}");
}
