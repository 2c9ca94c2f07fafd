//! What exporters call nodes, and the modules that those stand in.

use crate::onnx::proto;

/// What a node is called.
pub fn name_of(node: &proto::NodeProto) -> String {
    let first = || node.output.first().cloned().unwrap_or_default();
    if node.name.is_empty() { first() } else { node.name.clone() }
}

/// The path of the module that a node stands in, where the exporter kept it.
pub fn scope_of(node: &proto::NodeProto) -> Option<String> {
    // PyTorch's newer exporter: a list of the modules from outside in, and the node's own name last.
    let key = "pkg.torch.onnx.name_scopes";
    if let Some(pair) = node.metadata_props.iter().find(|pair| pair.key == key) {
        let scopes: Vec<&str> = pair.value.split('\'').skip(1).step_by(2).collect();
        let modules = scopes.split_last().map_or(&[][..], |(_, modules)| modules);
        return modules.last().filter(|path| !path.is_empty()).map(|path| path.to_string());
    }
    // The older one: /layer1/layer1.0/conv1/Conv, where what stands in a list repeats the list's name.
    let mut parts: Vec<&str> = Vec::new();
    let (modules, _) = node.name.strip_prefix('/')?.rsplit_once('/')?;
    for part in modules.split('/') {
        let is_in =
            |list: &&mut &str| part.strip_prefix(**list).is_some_and(|rest| rest.starts_with('.'));
        match parts.last_mut().filter(is_in) {
            Some(last) => *last = part,
            None => parts.push(part),
        }
    }
    Some(parts.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_in_both_exporters_names() {
        let named =
            |name: &str| proto::NodeProto { name: name.into(), ..proto::NodeProto::default() };
        let cases = [
            ("/conv1/Conv", Some("conv1")),
            ("/layer1/layer1.0/conv1/Conv", Some("layer1.0.conv1")),
            (
                "/encoder/layers/encoder_layer_0/mlp/mlp.0/Gemm",
                Some("encoder.layers.encoder_layer_0.mlp.0"),
            ),
            (
                "/features/features.1/features.1.0/block/block.2/LayerNormalization",
                Some("features.1.0.block.2"),
            ),
            ("/Add", None),
            ("Conv_0", None),
        ];
        for (name, path) in cases {
            assert_eq!(scope_of(&named(name)).as_deref(), path, "{name}");
        }
        let value = "['', 'layer1', 'layer1.0', 'layer1.0.conv1', 'conv2d_1']".to_string();
        let pair = proto::StringStringEntry { key: "pkg.torch.onnx.name_scopes".into(), value };
        let node = proto::NodeProto { metadata_props: vec![pair], ..proto::NodeProto::default() };
        assert_eq!(scope_of(&node).as_deref(), Some("layer1.0.conv1"));
    }
}
