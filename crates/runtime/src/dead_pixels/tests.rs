//! Text in, text out. Results are compared in `tests/it/fused.rs`.

use litesmith_graph::{GraphId, Model, infer_shapes, text, validate};

use super::skip_dead_pixels;

fn lines(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// What becomes of statements over `%x`, of 2 channels; `%p`, `%w` and `%k` are 1x1, 3x3 and depthwise
/// weights.
#[track_caller]
fn check(image: &str, outputs: &str, before: &str, after: &str) {
    let graph = |body: &str| {
        lines(&format!(
            "graph main(%x: f32[{image}], %p: f32[2,1,1,2], %w: f32[2,3,3,2], %k: f32[1,3,3,2]) -> ({outputs}) {{
            {body}
            }}"
        ))
    };
    let mut model = text::parse(&graph(before)).expect("the text before parses");
    validate(&model).expect("the model before is sound");
    skip(&mut model);
    validate(&model).expect("the model after is sound");
    assert_eq!(lines(&text::print(&model)), graph(after));
}

#[track_caller]
fn check_same(image: &str, outputs: &str, body: &str) {
    check(image, outputs, body, body);
}

const EVERY_SECOND: &str =
    r#"{"begin":[0,0,0,0],"end":[0,0,0,0],"strides":[1,2,2,1],"begin_mask":15,"end_mask":15}"#;

#[test]
fn the_last_block_of_a_stage_computes_what_the_next_one_reads() {
    check(
        "batch,7,height,2",
        "%y, %z",
        r#"%a: f32[batch,7,height,2] = Conv2D(%x, %p) {"padding":"same"} # reduce
           %b: f32[batch,7,height,2] = Conv2D(%a, %w) {"padding":"same","activation":"relu"} # spatial
           %c: f32[batch,7,height,2] = Conv2D(%b, %p) {"padding":"same"} # expand
           %d: f32[batch,7,height,2] = Binary(%c, %x) {"activation":"relu"} # add
           %y: f32[batch,4,?,2] = Conv2D(%d, %p) {"stride":[2,2]} # next
           %z: f32[batch,4,?,2] = Conv2D(%d, %p) {"stride":[2,2],"padding":"same"} # shortcut"#,
        &format!(
            r#"%a: f32[batch,7,height,2] = Conv2D(%x, %p) {{"padding":"same"}} # reduce
           %b: f32[batch,4,?,2] = Conv2D(%a, %w) {{"stride":[2,2],"padding":{{"explicit":{{"before":[1,1],"after":[1,1]}}}},"activation":"relu"}} # spatial
           %c: f32[batch,4,?,2] = Conv2D(%b, %p) # expand
           %x/pixels: f32[batch,4,?,2] = StridedSlice(%x) {EVERY_SECOND} # add
           %d: f32[batch,4,?,2] = Binary(%c, %x/pixels) {{"activation":"relu"}} # add
           %y: f32[batch,4,?,2] = Conv2D(%d, %p) # next
           %z: f32[batch,4,?,2] = Conv2D(%d, %p) {{"padding":"same"}} # shortcut"#
        ),
    );
}

/// Sizes that are not known before the model runs are compared by how they come about; chains of
/// strides are one.
#[test]
fn sizes_may_be_free() {
    check(
        "batch,height,width,2",
        "%y",
        r#"%a: f32[batch,?,?,2] = Conv2D(%x, %w) {"stride":[2,1]}
           %b: f32[batch,?,?,2] = DepthwiseConv2D(%x, %k) {"stride":[2,1]}
           %u: f32[batch,?,?,2] = Unary(%a) {"kind":"tanh"}
           %c: f32[batch,?,?,2] = Binary(%u, %b) {"kind":"mul"}
           %d: f32[batch,?,?,2] = Conv2D(%c, %p) {"stride":[1,2]}
           %y: f32[batch,?,?,2] = Conv2D(%d, %p) {"stride":[3,1]}"#,
        r#"%a: f32[batch,?,?,2] = Conv2D(%x, %w) {"stride":[6,2]}
           %b: f32[batch,?,?,2] = DepthwiseConv2D(%x, %k) {"stride":[6,2]}
           %u: f32[batch,?,?,2] = Unary(%a) {"kind":"tanh"}
           %c: f32[batch,?,?,2] = Binary(%u, %b) {"kind":"mul"}
           %d: f32[batch,?,?,2] = Conv2D(%c, %p)
           %y: f32[batch,?,?,2] = Conv2D(%d, %p)"#,
    );
}

#[test]
fn what_others_read_whole_is_computed_whole() {
    for (outputs, reader) in [
        ("%y, %a", ""),
        ("%y, %z", "%z: f32[batch,8,8,2] = Conv2D(%a, %p)"),
        ("%y, %z", r#"%z: f32[batch,4,4,2] = Pool2D(%a) {"kernel":[2,2],"stride":[2,2]}"#),
        ("%y, %z", r#"%z: f32[batch,3,3,2] = Conv2D(%a, %p) {"stride":[3,3]}"#),
    ] {
        let body = r#"%a: f32[batch,8,8,2] = Conv2D(%x, %p)
                      %y: f32[batch,4,4,2] = Conv2D(%a, %p) {"stride":[2,2]}"#;
        check_same("batch,8,8,2", outputs, &format!("{body}\n{reader}"));
    }
}

#[test]
fn what_saves_nothing_stays() {
    // Of the operands nothing can be left out, or they meet in another way than pixel by pixel.
    check_same(
        "batch,8,8,2",
        "%y, %z",
        r#"%a: f32[batch,8,8,2] = Unary(%x)
           %y: f32[batch,4,4,2] = Conv2D(%a, %p) {"stride":[2,2]}
           %b: f32[batch,8,1,2] = Conv2D(%x, %h) {"stride":[1,8]}
           %c: f32[batch,8,8,2] = Binary(%b, %x)
           %z: f32[batch,4,4,2] = Conv2D(%c, %p) {"stride":[2,2]}"#
            .replace("%h", "%p")
            .as_str(),
    );
}

fn skip(model: &mut Model) {
    let facts = infer_shapes(model, GraphId(0), None).expect("shapes");
    skip_dead_pixels(model.main_mut(), &facts);
}

/// Layers in dynamic range quantize by the range of all pixels.
#[test]
fn dynamic_range_sees_all_pixels() {
    let text = r#"graph main(%x: f32[1,8,8,2]) -> (%y) {
  %w: i8[2,1,1,2] q{"scales":[0.5],"zero_points":[0]} = [1,2,3,4]
  %a: f32[1,8,8,2] = Conv2D(%x, %w)
  %y: f32[1,4,4,2] = Conv2D(%a, %w) {"stride":[2,2]}
}"#;
    let mut model = text::parse(text).unwrap();
    let before = model.clone();
    skip(&mut model);
    assert_eq!(text::print(&model), text::print(&before));
}
