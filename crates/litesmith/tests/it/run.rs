//! `run`, `evaluate`, `bench`, `inspect` and `demo`.

use litesmith::{
    BenchOptions, ConvertOptions, DataOptions, DemoOptions, Quantization, RunOptions, Silent, bench, convert,
    demo, evaluate, inspect, run,
};

use crate::asset;

#[test]
fn a_run_keeps_every_output_of_every_sample() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.npz");
    let data = DataOptions::new(asset("fashion-test.npz")).with_samples(Some(33));
    let result = run(&asset("fashion.keras"), &data, Some(&file), 3, &Default::default(), &Silent).unwrap();
    assert_eq!((result.samples, result.predictions.len(), result.predictions[0].len()), (33, 33, 3));
    assert_eq!(result.outputs[0].shape, [33, 10]);
    let arrays = litesmith_data::npz::read(&file, 1 << 20).unwrap();
    assert_eq!(arrays[0].shape(), [33, 10]);
    let best = result.predictions[0][0].class;
    let row = &arrays[0].to_f32()[..10];
    assert!(row.iter().all(|value| *value <= row[best]));
}

#[test]
fn rows_do_not_depend_on_batch_and_threads() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("out.tflite");
    for mode in [Quantization::None, Quantization::Dynamic, Quantization::Int8] {
        let options = ConvertOptions::new(mode).with_calibration(crate::calibration());
        convert(&asset("fashion.keras"), &model, &options, &Silent).unwrap();
        let outputs = |batch, threads| {
            let file = folder.path().join("out.npz");
            let data =
                DataOptions::new(asset("fashion-test.npz")).with_samples(Some(70)).with_batch(Some(batch));
            run(&model, &data, Some(&file), 1, &RunOptions::default().with_threads(threads), &Silent)
                .unwrap();
            litesmith_data::npz::read(&file, 1 << 20).unwrap()[0].bytes().to_vec()
        };
        let alone = outputs(1, 1);
        for (batch, threads) in [(1, 2), (2, 1), (7, 2), (64, 1), (64, 2)] {
            assert!(outputs(batch, threads) == alone, "{mode}: batch {batch}, {threads} threads");
        }
    }
}

#[test]
fn data_without_labels_cannot_be_evaluated() {
    let data = DataOptions::new(asset("fashion-calibration.npz"));
    let error = evaluate(&asset("fashion.keras"), &data, &Default::default(), &Silent).unwrap_err();
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn a_free_length_gets_a_size_that_fits_the_model() {
    let pool = "graph main(%x: f32[batch,length,1,1]) -> (%y) {
          %y: f32[batch,?,1,1] = Pool2D(%x) {\"kernel\":[400,1]} # pool
        }";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pool.tflite");
    let model = litesmith_graph::text::parse(pool).unwrap();
    std::fs::write(&file, litesmith_formats::tflite::write(&model).unwrap()).unwrap();
    let result = bench(&file, &BenchOptions::new(3, 1), &Silent).unwrap();
    assert_eq!(result.batch, 3);
}

#[test]
fn a_bench_tells_where_the_time_goes() {
    let mut options = BenchOptions::new(2, 3);
    options.profile = true;
    options.run.threads = Some(1);
    let result = bench(&asset("fashion.keras"), &options, &Silent).unwrap();
    assert_eq!((result.batch, result.threads), (2, 1));
    assert!(
        result.latency_ms.min <= result.latency_ms.median
            && result.latency_ms.median <= result.latency_ms.p99
    );
    let shares: f64 = result.operators.iter().map(|operator| operator.share).sum();
    assert!((shares - 1.0).abs() < 1e-6);
    options.batch = 0;
    assert_eq!(bench(&asset("fashion.keras"), &options, &Silent).unwrap_err().exit_code(), 2);
}

#[test]
fn an_inspection_counts_what_keras_counts() {
    let result = inspect(&asset("fashion.keras")).unwrap();
    assert_eq!(result.parameters, 39_482);
    assert_eq!(result.inputs[0].name, "image");
    assert!(!result.float_free && result.macs > 1_000_000);
}

#[test]
fn the_demo_fills_its_table() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = DemoOptions::default();
    options.folder = Some(folder.path().to_owned());
    let result = demo(&options, &Silent).unwrap();
    assert_eq!(result.rows.len(), 6);
    assert!(result.rows[5].quantize_aware);
    for row in &result.rows {
        assert_eq!(row.file.metadata().unwrap().len(), row.bytes);
        assert!(row.accuracy > 0.9 && row.agreement > 0.98, "{row:?}");
    }
}
