//! Which elements of a layer's output one fault hits.

/// Which elements of a layer's output are hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// The one that is named.
    #[default]
    Element,
    /// All channels of its pixel: row m of the GEMM view.
    Row,
    /// All pixels of its channel: column n of the GEMM view.
    Column,
    /// The kernel's tile around it.
    Tile,
}

impl Shape {
    const ALL: [(&'static str, Shape); 4] = [
        ("element", Shape::Element),
        ("row", Shape::Row),
        ("column", Shape::Column),
        ("tile", Shape::Tile),
    ];

    pub(super) fn name(self) -> &'static str {
        Shape::ALL.into_iter().find(|(_, shape)| *shape == self).map_or("element", |(name, _)| name)
    }

    pub(super) fn parse(text: &str) -> std::result::Result<Shape, String> {
        let known = Shape::ALL.into_iter().find(|(name, _)| *name == text);
        let names = Shape::ALL.map(|(name, _)| name).join(", ");
        known
            .map(|(_, shape)| shape)
            .ok_or_else(|| format!("unknown shape '{text}'; known: {names}"))
    }
}
