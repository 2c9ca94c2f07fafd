pub struct ImageFacts {
    pub format: String,
    pub colour: String,
    pub height: usize,
    pub width: usize,
    pub orientation: Option<u8>,
}
pub fn facts(bytes: &[u8], path: &std::path::Path) -> crate::Result<ImageFacts> {
    let i = super::decode(bytes, path)?;
    Ok(ImageFacts {
        format: "x".into(),
        colour: "y".into(),
        height: i.height,
        width: i.width,
        orientation: None,
    })
}
