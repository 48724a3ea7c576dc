//! A file beyond 2 GB, whose constants stand behind the flatbuffer. Nearly all of it is a hole that takes
//! no room on the disk, and no memory.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use bytes::Bytes;
use litesmith_formats::tflite;
use litesmith_graph::ops::Gather;
use litesmith_graph::{DType, Data, Graph, Model, Shape, Tensor};
use memmap2::MmapMut;

const ROWS: usize = 1150;
const COLUMNS: usize = 1 << 20;

/// Zeros that the system makes when they are looked at, but for the first and the last byte.
fn table(mark: u8) -> Data {
    let mut bytes = MmapMut::map_anon(ROWS * COLUMNS).unwrap();
    bytes[0] = mark;
    bytes[ROWS * COLUMNS - 1] = mark;
    Data::new(Bytes::from_owner(bytes))
}

fn model() -> Model {
    let mut graph = Graph::new("main");
    let index = graph.add_tensor(Tensor::input("index", DType::I32, Shape::from([1])));
    for mark in [3, 4] {
        let shape = Shape::from([ROWS, COLUMNS]);
        let table = graph.add_tensor(Tensor::constant("table", DType::I8, shape, table(mark)));
        let row = graph.add_tensor(Tensor::activation("row", DType::I8, Shape::from([1, COLUMNS])));
        graph.add_node("row", Gather::default(), vec![Some(table), Some(index)], vec![row]);
        graph.outputs.push(row);
    }
    Model::new(graph)
}

/// A file in which long pieces are left out but for their ends.
struct WithHoles(File);

impl Write for WithHoles {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        const END: usize = 4096;
        if bytes.len() > 1 << 24 {
            self.0.write_all(&bytes[..END])?;
            self.0.seek(SeekFrom::Current((bytes.len() - 2 * END) as i64))?;
            self.0.write_all(&bytes[bytes.len() - END..])?;
        } else {
            self.0.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn files_beyond_two_gigabytes_are_written_and_mapped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.tflite");
    let encoded = tflite::encode(&model()).unwrap();
    assert!(encoded.len() > 1 << 31);
    encoded.write_to(&mut WithHoles(File::create(&path).unwrap())).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), encoded.len());
    let read = litesmith_formats::read(&path).unwrap();
    let graph = read.main();
    for (node, mark) in graph.nodes.iter().zip([3, 4]) {
        let data = read.data(&graph[node.inputs[0].unwrap()]).unwrap().bytes();
        assert_eq!((data.len(), data[0], data[ROWS * COLUMNS - 1]), (ROWS * COLUMNS, mark, mark));
        assert_eq!(data[COLUMNS], 0);
        assert_eq!(data.as_ptr().addr() % 16, 0);
    }
    assert_eq!(graph.nodes.len(), 2);
    let missing = folder.path().join("short.tflite");
    std::fs::rename(&path, &missing).unwrap();
    File::options().write(true).open(&missing).unwrap().set_len(1 << 31).unwrap();
    assert!(litesmith_formats::read(&missing).is_err());
}
