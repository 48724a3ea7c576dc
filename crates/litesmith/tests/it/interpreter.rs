//! The interpreter: tensors one by one, shapes that change.

use litesmith::{
    Array, ConvertOptions, Error, Interpreter, Quantization, RunOptions, Silent, convert, evaluate,
};

use crate::{asset, calibration};

fn converted(mode: Quantization, batch: Option<litesmith::BatchSize>) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.tflite");
    let mut options = ConvertOptions::new(mode).with_calibration(calibration());
    options.batch = batch;
    convert(&asset("fashion.keras"), &file, &options, &Silent).unwrap();
    std::fs::read(file).unwrap()
}

fn images(count: usize) -> Array {
    let arrays = litesmith_data::npz::read(&asset("fashion-test.npz"), 1 << 24).unwrap();
    let x = arrays.iter().find(|array| array.name() == Some("x")).unwrap();
    Array::from_f32(&[count, 28, 28, 1], &x.to_f32()[..count * 28 * 28])
}

fn interpreter(bytes: Vec<u8>) -> Interpreter {
    Interpreter::from_bytes(bytes.into(), RunOptions::default().with_threads(1)).unwrap()
}

#[test]
fn a_free_batch_takes_any_number_of_samples() {
    let mut interpreter = interpreter(converted(Quantization::Int8, None));
    let (input, output) = (interpreter.inputs()[0], interpreter.outputs()[0]);
    assert_eq!(interpreter.details(input).unwrap().shape, [1, 28, 28, 1]);
    assert_eq!(interpreter.details(input).unwrap().shape_signature, [-1, 28, 28, 1]);
    assert!(interpreter.value(output).is_none(), "nothing was computed");
    let all = images(5);
    interpreter.set(input, all.clone()).unwrap();
    interpreter.run().unwrap();
    let together = interpreter.value(output).unwrap();
    assert_eq!(
        (together.shape.as_slice(), interpreter.details(output).unwrap().shape),
        (&[5, 10][..], vec![5, 10])
    );
    for place in 0..5 {
        let one = Array::from_f32(&[1, 28, 28, 1], &all.elements::<f32>()[place * 784..][..784]);
        interpreter.set(input, one).unwrap();
        interpreter.run().unwrap();
        let alone = interpreter.value(output).unwrap();
        assert_eq!(alone.elements::<f32>()[..], together.elements::<f32>()[place * 10..][..10]);
    }
}

#[test]
fn a_fixed_batch_is_changed_where_that_is_asked_for() {
    let fixed = converted(Quantization::Int8, Some(litesmith::BatchSize::Fixed(1)));
    let mut fixed = interpreter(fixed);
    let mut free = interpreter(converted(Quantization::Int8, None));
    let (input, output) = (fixed.inputs()[0], fixed.outputs()[0]);
    assert!(!fixed.takes(input, &[3, 28, 28, 1]));
    assert!(matches!(fixed.set(input, images(3)), Err(Error::Broken(_))));
    fixed.resize(input, &[3, 28, 28, 1]).unwrap();
    fixed.allocate().unwrap();
    fixed.set(input, images(3)).unwrap();
    fixed.run().unwrap();
    free.set(free.inputs()[0], images(3)).unwrap();
    free.run().unwrap();
    assert_eq!(fixed.value(output), free.value(free.outputs()[0]));
    assert!(fixed.resize(input, &[3, 29, 28]).is_err());
    assert!(fixed.resize(output, &[3, 10]).is_err());
}

#[test]
fn every_tensor_is_kept_where_that_is_asked_for() {
    let mut interpreter = interpreter(converted(Quantization::None, None));
    let (input, output) = (interpreter.inputs()[0], interpreter.outputs()[0]);
    let known = |interpreter: &Interpreter| {
        (0..interpreter.tensors()).filter(|tensor| interpreter.value(*tensor).is_some()).count()
    };
    interpreter.set(input, images(2)).unwrap();
    interpreter.run().unwrap();
    let (some, result) = (known(&interpreter), interpreter.value(output));
    interpreter.keep_all(true);
    interpreter.run().unwrap();
    assert!(known(&interpreter) > some);
    assert_eq!(known(&interpreter), interpreter.tensors());
    let (a, b) = (result.unwrap(), interpreter.value(output).unwrap());
    let (a, b) = (a.elements::<f32>(), b.elements::<f32>());
    let near = a.iter().zip(b.iter()).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(near);
}

#[test]
fn signatures_name_tensors_and_kept_files_give_the_same_as_evaluate() {
    let mut interpreter = Interpreter::open(&asset("fashion.keras"), RunOptions::default()).unwrap();
    let (input, output) = (interpreter.inputs()[0], interpreter.outputs()[0]);
    for point in interpreter.entry_points() {
        assert_eq!((point.inputs[0].1, point.outputs[0].1), (input, output));
    }
    interpreter.set(input, images(100)).unwrap();
    interpreter.run().unwrap();
    let data = litesmith::DataOptions::new(asset("fashion-test.npz")).with_samples(Some(100));
    let expected = evaluate(&asset("fashion.keras"), &data, &RunOptions::default(), &Silent).unwrap();
    let rows = interpreter.value(output).unwrap();
    let largest = |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
    let classes: Vec<usize> = rows.elements::<f32>().chunks(10).map(largest).collect();
    assert_eq!(classes, expected.classes);
}

#[test]
fn what_is_no_model_is_refused() {
    for bytes in [&b""[..], b"hello", b"PK\x03\x04rest", b"\x1c\0\0\0TFL3"] {
        assert!(Interpreter::from_bytes(bytes.to_vec().into(), RunOptions::default()).is_err());
    }
}
