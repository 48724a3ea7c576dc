//! Prints the configuration of a network, and its weights by layer:
//! `configuration NAME [SIZE [CLASSES [imagenet]]]`, with the last for [`Options::imagenet`].

use litesmith_zoo::{Layer, Options, build};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = arguments.first().ok_or("name a network")?;
    let size = arguments.get(1).map(|text| text.parse()).transpose()?;
    let classes = arguments.get(2).map_or(Ok(1000), |text| text.parse())?;
    let imagenet = arguments.get(3).is_some_and(|text| text == "imagenet");
    let network = build(name, &Options { size, classes, imagenet, ..Options::default() })?;
    let mut weights = Vec::new();
    network.layers().iter().for_each(|layer| list(layer, "", &mut weights));
    let macs = network.macs();
    let parameters = network.parameters();
    println!(
        "{}",
        json!({ "config": network.configuration(), "params": parameters, "macs": macs, "shapes": weights })
    );
    Ok(())
}

fn list(layer: &Layer, outer: &str, weights: &mut Vec<Value>) {
    let path = format!("{outer}{}", layer.name);
    weights.extend(
        layer.variables.iter().map(|weight| json!([format!("{path}/{}", weight.name), weight.shape])),
    );
    layer.inner.iter().for_each(|inner| list(inner, &format!("{path}/"), weights));
}
