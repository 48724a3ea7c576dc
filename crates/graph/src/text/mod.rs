//! The readable form of a model: printed for people and tests, and read back.
//!
//! ```text
//! parameter @dense/kernel: f32[2,3] trainable = random(1)
//! graph main(%x: f32[batch,2]) -> (%y) {
//!   %w: f32[3,2] = Transpose(@dense/kernel) {"permutation":[1,0]}
//!   %b: f32[3] = [0,1,2]
//!   %y: f32[batch,3] = FullyConnected(%x, %w, %b) {"activation":"relu"} # dense
//! }
//! ```
//!
//! `%name` is a tensor, `@name` a parameter, `$name` a state (declared by `state $name: f32[2] = [0,0]`,
//! where it starts with values), `_` an input left out. Graphs that others run come behind the main one. What follows `#` is the layer's
//! name. Constants are lists of numbers (row-major), `splat(v)` or `random(seed)`; long ones are
//! printed as `<n bytes>`, which cannot be read back. A quantized tensor carries
//! `q{"scales":[0.5],"zero_points":[0]}` behind its shape.

mod parse;
mod print;

pub use parse::{TextError, parse};
pub use print::print;

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"parameter @dense/kernel: f32[2,3] trainable = [1,2,3,4,5,6.5]
graph main(%x: f32[batch,2]) -> (%y) {
  %w: f32[3,2] = Transpose(@dense/kernel) {"permutation":[1,0]} # dense
  %b: f32[3] = [0,1,2]
  %"odd name": f32[batch,3] = FullyConnected(%x, %w, %b) {"activation":"relu"} # dense
  %y: i8[batch,3] q{"scales":[0.5],"zero_points":[-3]} = Quantize(%"odd name")
}
"#;

    #[test]
    fn text_goes_to_a_model_and_back() {
        let model = parse(SMALL).unwrap();
        assert_eq!(crate::validate(&model), Ok(()));
        assert_eq!(print(&model), SMALL);
    }

    #[test]
    fn constants_are_made_from_a_value_or_a_seed() {
        let model = parse("graph main() -> (%y, %z) {\n%y: f32[2] = splat(1.5)\n%z: i8[40] = random(7)\n}\n")
            .unwrap();
        let data = |index: usize| model.data(&model.main().tensors[index]).unwrap().clone();
        assert_eq!(data(0).elements::<f32>().as_ref(), [1.5, 1.5]);
        assert_eq!(data(1).len(), 40);
        assert!(print(&model).contains("<40 bytes>"));
    }

    #[test]
    fn mistakes_are_placed() {
        let error = parse("graph main(%x: f32[2]) -> (%y) {\n  %y: f32[2] = Relu(%x)\n}\n").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        assert!(parse("graph main() -> (%y) {\n}\n").is_err());
        assert!(parse("graph main(").is_err());
    }
}
