use super::*;
use litesmith_graph::text;
use litesmith_runtime::{Array, Interpreter, Options as RunOptions};

/// Shrinks a model and checks that it computes what the masked one computes.
fn shrunk(text: &str, options: &ChannelOptions) -> Shrunk {
    let shrunk = shrink(&text::parse(text).unwrap(), options).unwrap();
    let run = |model: &Model| {
        let mut interpreter = Interpreter::new(model, &RunOptions::default().with_threads(1)).unwrap();
        let inputs: Vec<Array> = interpreter
            .inputs()
            .iter()
            .map(|info| {
                let shape: Vec<usize> =
                    info.shape.dims().iter().map(|dim| dim.fixed().unwrap_or(2)).collect();
                let count: usize = shape.iter().product();
                let values: Vec<f32> = (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
                Array::from_f32(&shape, &values)
            })
            .collect();
        interpreter.run(&inputs).unwrap()[0].floats().into_owned()
    };
    let (small, masked) = (run(&shrunk.model), run(&shrunk.masked));
    let largest = masked.iter().fold(1e-3f32, |largest, x| largest.max(x.abs()));
    assert!(small.iter().zip(&masked).all(|(a, b)| (a - b).abs() <= 1e-4 * largest), "{small:?} {masked:?}");
    shrunk
}

fn channels(shrunk: &Shrunk) -> Vec<(&str, usize, usize)> {
    shrunk.layers.iter().map(|layer| (layer.name.as_str(), layer.before, layer.after)).collect()
}

#[test]
fn residual_depthwise_and_gated_channels_go_together() {
    let text = "graph main(%x: f32[batch,8,8,3]) -> (%y) {
        %w1: f32[8,3,3,3] = random(1)
        %b1: f32[8] = random(2)
        %a: f32[batch,8,8,8] = Conv2D(%x, %w1, %b1) {\"padding\":\"same\",\"activation\":\"relu\"} # stem
        %w2: f32[16,1,1,8] = random(3)
        %b: f32[batch,8,8,16] = Conv2D(%a, %w2, _) # expand
        %w3: f32[1,3,3,16] = random(4)
        %b3: f32[16] = random(5)
        %c: f32[batch,8,8,16] = DepthwiseConv2D(%b, %w3, %b3) {\"padding\":\"same\"} # deep
        %m: f32[batch,1,1,16] = Reduce(%c) {\"axes\":[1,2],\"keep_dims\":true}
        %w4: f32[4,1,1,16] = random(6)
        %d: f32[batch,1,1,4] = Conv2D(%m, %w4, _) {\"activation\":\"relu\"} # squeeze
        %w5: f32[16,1,1,4] = random(7)
        %e: f32[batch,1,1,16] = Conv2D(%d, %w5, _) # excite
        %s: f32[batch,1,1,16] = Unary(%e) {\"kind\":\"logistic\"}
        %g: f32[batch,8,8,16] = Binary(%c, %s) {\"kind\":\"mul\"}
        %w6: f32[8,1,1,16] = random(8)
        %p: f32[batch,8,8,8] = Conv2D(%g, %w6, _) # project
        %r: f32[batch,8,8,8] = Binary(%a, %p)
        %k: f32[8] = random(9)
        %t: f32[batch,8,8,8] = Binary(%r, %k) {\"kind\":\"mul\"}
        %f: f32[batch,512] = Reshape(%t) {\"shape\":[\"infer\",512]}
        %w7: f32[10,512] = random(10)
        %y: f32[batch,10] = FullyConnected(%f, %w7, _) # head
    }";
    let half = shrunk(text, &ChannelOptions::new(0.5));
    let expected = [
        ("stem", 8, 4),
        ("expand", 16, 8),
        ("squeeze", 4, 2),
        ("excite", 16, 8),
        ("project", 8, 4),
        ("head", 10, 10),
    ];
    assert_eq!(channels(&half), expected);
    assert!(half.not_followed.is_empty());
    let shapes: Vec<String> =
        half.model.main().tensors.iter().map(|tensor| tensor.shape.to_string()).collect();
    assert!(shapes.iter().any(|shape| shape.contains("10,256") || shape.contains("10, 256")), "{shapes:?}");
    let mut options = ChannelOptions::new(0.5);
    options.recipe = PruneRecipe::from_toml("[[rule]]\nlayers = \"stem\"\nskip = true").unwrap();
    let partly = shrunk(text, &options);
    assert_eq!(channels(&partly)[0], ("stem", 8, 8));
    assert_eq!(channels(&partly)[4], ("project", 8, 8));
    assert_eq!(channels(&partly)[1], ("expand", 16, 8));
}

#[test]
fn concatenated_channels_keep_their_places() {
    let text = "graph main(%x: f32[1,4,4,3]) -> (%y) {
        %w1: f32[6,1,1,3] = random(1)
        %a: f32[1,4,4,6] = Conv2D(%x, %w1, _) # left
        %w2: f32[4,3,3,3] = random(2)
        %b: f32[1,4,4,4] = Conv2D(%x, %w2, _) {\"padding\":\"same\"} # right
        %c: f32[1,4,4,10] = Concat(%a, %b) {\"axis\":-1}
        %u: f32[1,4,4,10] = Unary(%c) {\"kind\":\"logistic\"}
        %w3: f32[5,1,1,10] = random(3)
        %d: f32[1,4,4,5] = Conv2D(%u, %w3, _) # last
        %y: f32[1,5] = Reduce(%d) {\"axes\":[1,2]}
    }";
    let third = shrunk(text, &ChannelOptions::new(0.34));
    assert_eq!(channels(&third), [("left", 6, 4), ("right", 4, 3), ("last", 5, 5)]);
    let mut options = ChannelOptions::new(0.5);
    options.global = true;
    let half = shrunk(text, &options);
    assert!(channels(&half).iter().all(|(_, _, after)| *after > 0));
}

#[test]
fn what_is_not_understood_stays_whole() {
    let text = "graph main(%x: f32[1,4,4,3]) -> (%y) {
        %w1: f32[6,1,1,3] = random(1)
        %a: f32[1,4,4,6] = Conv2D(%x, %w1, _) # first
        %w2: f32[6,1,1,6] = random(2)
        %b: f32[1,4,4,6] = Conv2D(%a, %w2, _) # second
        %s: f32[1,4,4,6] = Softmax(%b) # attention
        %w3: f32[2,1,1,6] = random(3)
        %y: f32[1,4,4,2] = Conv2D(%s, %w3, _) # last
    }";
    let half = shrunk(text, &ChannelOptions::new(0.5));
    assert_eq!(channels(&half), [("first", 6, 3), ("second", 6, 6), ("last", 2, 2)]);
    assert_eq!(half.not_followed.get("SOFTMAX"), Some(&1));
    assert!(half.layers[1].reason.as_ref().unwrap().contains("attention"));
}
