//! What the classes of the built-in set look like, in words: the built-in stand-in for the answers
//! of a language model.

/// A class of the built-in set and what one could say about a picture of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassDescription {
    /// The class name.
    pub name: &'static str,
    /// Five answers to questions such as "Describe a photo of a ring".
    pub answers: [&'static str; 5],
}

const CLASSES: [ClassDescription; 10] = [
    ClassDescription {
        name: "disc",
        answers: [
            "A disc is a filled round shape with a smooth curved edge and no corners at all.",
            "The picture shows one solid circle of even colour, like a coin or a full moon.",
            "You can recognise a disc by its round outline: every point of the rim is equally far from the centre, and the middle is filled.",
            "A round spot, sometimes squeezed into an oval, lies in front of a coloured background.",
            "Unlike a ring it has no hole, and unlike a crescent no bite has been taken out of it.",
        ],
    },
    ClassDescription {
        name: "ring",
        answers: [
            "A ring is a round band with a hole in the middle through which the background shows.",
            "The picture shows a circle drawn with a thick line, like a tyre, a doughnut or the letter O.",
            "You can recognise a ring by its two round edges, one outside and one inside.",
            "The shape is hollow: its centre has the colour of the background, not of the band.",
            "Unlike a disc it is not filled, and unlike a crescent the band is closed all the way round.",
        ],
    },
    ClassDescription {
        name: "square",
        answers: [
            "A square is a filled shape with four straight sides and four right angles.",
            "The picture shows a solid box, standing almost upright, like a tile or a window.",
            "You can recognise a square by its flat edges and its four corners.",
            "A block of one colour, about as wide as it is high, lies in front of the background.",
            "Unlike a checkerboard it is not divided into fields, and unlike a disc it has corners.",
        ],
    },
    ClassDescription {
        name: "triangle",
        answers: [
            "A triangle is a filled shape with three straight sides and three pointed corners.",
            "The picture shows a solid wedge, like a slice of pizza, a warning sign or a tent.",
            "You can recognise a triangle by its three corners; it may lean to one side.",
            "The shape is broad at one side and runs to a point at the opposite corner.",
            "Unlike a star it has no notches between its points, and unlike a square only three sides.",
        ],
    },
    ClassDescription {
        name: "star",
        answers: [
            "A star is a shape with five pointed arms around a centre and deep notches between them.",
            "The picture shows a five-pointed star like those on flags, often a little tilted.",
            "You can recognise a star by its spikes, which stick out to all sides.",
            "The outline goes in and out ten times: five sharp tips and five inner corners.",
            "Unlike a cross it has five thin tips instead of four broad bars.",
        ],
    },
    ClassDescription {
        name: "cross",
        answers: [
            "A cross is made of two thick bars that meet in the middle, like a plus sign.",
            "The picture shows a plus, standing almost upright, with four arms of equal length.",
            "You can recognise a cross by its four blunt arms: up, down, left and right.",
            "One bar runs across and one runs down, and each corner between them is empty.",
            "Unlike a star its arms have flat ends, and unlike a square its corners are missing.",
        ],
    },
    ClassDescription {
        name: "crescent",
        answers: [
            "A crescent is a thin curved shape with two pointed ends, like a young moon.",
            "The picture shows a sickle or banana: a disc out of which a round bite has been taken.",
            "You can recognise a crescent by its two horns and its hollow side, like the letter C.",
            "The outer edge bulges outwards and the inner edge is hollow; both are round.",
            "Unlike a ring the band is open on one side and is thickest at its middle.",
        ],
    },
    ClassDescription {
        name: "horizontal stripes",
        answers: [
            "Horizontal stripes are several parallel bands that run from left to right, one above another.",
            "The picture shows a patch of level lines, like a sailor's shirt or a pile of planks.",
            "You can recognise them by the colour that changes when the eye moves up or down.",
            "Bands of colour lie flat, with gaps of the same height between them.",
            "Unlike vertical stripes they lie down, and unlike a checkerboard they are not broken up.",
        ],
    },
    ClassDescription {
        name: "vertical stripes",
        answers: [
            "Vertical stripes are several parallel bands that run from top to bottom, side by side.",
            "The picture shows a patch of upright lines, like a fence, prison bars or a bar code.",
            "You can recognise them by the colour that changes when the eye moves left or right.",
            "Bands of colour stand upright, with gaps of the same width between them.",
            "Unlike horizontal stripes they stand up, and unlike a checkerboard they are not broken up.",
        ],
    },
    ClassDescription {
        name: "checkerboard",
        answers: [
            "A checkerboard is a grid of small fields that are filled and empty by turns.",
            "The picture shows a patch of chess board: each field has another colour than its neighbours.",
            "You can recognise it by the colour that changes both across and down, field by field.",
            "Many little squares touch at their corners and form diagonal chains.",
            "Unlike stripes the pattern is broken up in both directions, and unlike a square it has many parts.",
        ],
    },
];

/// The ten classes with five answers each, in the order of the labels.
pub fn descriptions() -> &'static [ClassDescription] {
    &CLASSES
}
