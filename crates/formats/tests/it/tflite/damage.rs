//! Files that are cut short, changed or lie: never a panic, and never more memory or time than the
//! file's length justifies.

use std::time::{Duration, Instant};

use bytes::Bytes;
use litesmith_formats::{FormatError, tflite};

use super::cases;

/// Files that hold much of the format between them.
fn files() -> Vec<Vec<u8>> {
    let names = [
        "conv_int8",
        "pad",
        "split",
        "custom",
        "fully_connected_sparse",
        "reshape_computed",
        "two_graphs",
        "if_else",
        "while_loop",
        "states",
    ];
    let all = cases::all().into_iter().filter(|(name, _)| names.contains(&&**name));
    let files: Vec<_> = all.map(|(_, model)| tflite::write(&model).unwrap()).collect();
    assert_eq!(files.len(), names.len());
    files
}

/// Reads a file, and writes what was read: what passes the reader must not upset the writer.
fn read(bytes: Vec<u8>) -> Result<(), FormatError> {
    let model = tflite::read(bytes.into())?;
    if let Ok(encoded) = tflite::encode(&model) {
        encoded.write_to(&mut std::io::sink()).unwrap();
    }
    Ok(())
}

#[test]
fn no_cut_file_is_read() {
    for file in files() {
        // What follows the last byte that is not zero is filler.
        let end = file.iter().rposition(|byte| *byte != 0).unwrap();
        for length in 0..=end {
            let cut = file[..length].to_vec();
            assert!(read(cut).is_err(), "{length} of {} bytes are read", file.len());
        }
    }
}

#[test]
fn no_changed_byte_is_dangerous() {
    for file in files() {
        for position in 0..file.len() {
            for value in [0x00, 0x01, 0x7f, 0x80, 0xff, file[position] ^ 0x10, file[position].wrapping_add(4)]
            {
                let mut changed = file.clone();
                changed[position] = value;
                let _ = read(changed);
            }
        }
    }
}

#[test]
fn no_lying_number_is_dangerous() {
    for file in files() {
        for position in (0..file.len() - 4).step_by(2) {
            for value in [u32::MAX, i32::MAX as u32, 0x8000_0000, 0x1000_0000, 0x0001_0000] {
                let mut changed = file.clone();
                changed[position..position + 4].copy_from_slice(&value.to_le_bytes());
                let _ = read(changed);
            }
        }
    }
    if let Some(peak) = peak_memory() {
        assert!(peak < 1 << 30, "{peak} bytes of memory were used");
    }
}

/// The most memory that this process has used, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[test]
fn several_changes_at_once_are_not_dangerous() {
    let files = files();
    let mut state = 1u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let start = Instant::now();
    for round in 0..4000 {
        let mut file = files[round % files.len()].clone();
        for _ in 0..1 + next(4) {
            let position = next(file.len());
            file[position] = next(256) as u8;
        }
        let _ = read(file);
    }
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn other_files_are_refused() {
    assert!(matches!(tflite::read(Bytes::new()), Err(FormatError::Broken { .. })));
    assert!(matches!(tflite::read(Bytes::from_static(b"\0\0\0\0TFL3")), Err(FormatError::Broken { .. })));
    let mut version = files()[0].clone();
    let table = u32::from_le_bytes(version[..4].try_into().unwrap()) as usize;
    let at = version[table..].windows(4).position(|window| window == 3u32.to_le_bytes()).unwrap();
    version[table + at] = 4;
    let error = tflite::read(version.into()).unwrap_err().to_string();
    assert!(error.contains("version"), "{error}");
}
